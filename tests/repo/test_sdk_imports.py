"""The SDK needs grpcio and protobuf, nothing else; it works in an environment that has nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_files import CLEAN_PYTHON, FLOORS, ROOT, imported_names, syntax, tracked

ALLOWED = {"forebay", "grpc", "google"}
OPTIONAL = {"numpy"}
HEAVY = {"numpy", "pydantic", "redis", "faiss", "onnxruntime", "pyarrow", "duckdb", "opentelemetry", "yaml"}
LIST_MODULES = (
    "import json, sys; sys.path.insert(0, 'sdk'); import {module}; print(json.dumps(list(sys.modules)))"
)


def loaded_by(python: Path, module: str) -> set[str]:
    """Return the top-level packages that importing `module` loads, in an isolated interpreter."""
    finished = subprocess.run(
        [python, "-I", "-W", "error", "-c", LIST_MODULES.format(module=module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return {name.partition(".")[0] for name in json.loads(finished.stdout)}


@pytest.mark.parametrize("module", ["forebay", "forebay.aio"])
def test_importing_the_client_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(Path(sys.executable), module) & (HEAVY | set(FLOORS)) == set()


@pytest.mark.parametrize("module", ["forebay", "forebay.aio"])
def test_the_client_imports_when_only_its_dependencies_are_installed(module: str) -> None:
    assert "grpc" in loaded_by(CLEAN_PYTHON, module)


def test_the_sdk_imports_only_what_it_declares() -> None:
    known = ALLOWED | OPTIONAL | set(sys.stdlib_module_names)
    undeclared = [
        f"{path}:{line} imports {name}"
        for path in tracked("sdk/*.py")
        for name, line in imported_names(syntax(path))
        if name.partition(".")[0] not in known
    ]
    assert undeclared == []
