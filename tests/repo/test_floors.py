"""Imports go down only, in the open, without cycles; grpc stays in the wire files."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

from tests.support.source_files import OWN_PACKAGES, ROOT, imported_names, syntax, written_modules


def test_import_contracts_are_kept() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    finished = subprocess.run(
        [program, "--no-logo", "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_modules_import_each_other_without_cycles() -> None:
    graph = grimp.build_graph(*OWN_PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules


def test_own_modules_are_imported_at_the_top() -> None:
    hidden = [
        f"{path}:{line} imports {name}"
        for path in written_modules()
        for function in ast.walk(syntax(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for name, line in imported_names(function)
        if name.startswith(".") or name.partition(".")[0] in OWN_PACKAGES
    ]
    assert hidden == []


def test_google_rpc_is_imported_by_its_one_door() -> None:
    """Anything else would work where googleapis-common-protos happens to be installed, and nowhere else."""
    elsewhere = [
        f"{path}:{line}"
        for path in written_modules()
        for name, line in imported_names(syntax(path))
        if name.startswith(("google.rpc", "forebay._rpc.bundled")) and path.parent != Path("sdk/forebay/_rpc")
    ]
    assert elsewhere == []
