"""What a reader may count on in every file, where no linter checks it."""

import ast
from pathlib import Path

from tests.support.source_files import ROOT, syntax, tracked, written_modules

LONGEST_FILE = 400
VAGUE_MODULES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core"}
VAGUE_SUFFIXES = ("Manager", "Base", "Impl", "Helper", "Utils")


def test_files_are_short() -> None:
    """A longer one is two things: ask which."""
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in written_modules()}
    assert {str(path): length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_modules_are_named_by_what_they_hold() -> None:
    assert [str(path) for path in written_modules() if path.stem in VAGUE_MODULES] == []


def test_classes_are_named_by_what_they_are() -> None:
    vague = [
        f"{path}:{node.lineno} {node.name}"
        for path in written_modules()
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(VAGUE_SUFFIXES)
    ]
    assert vague == []


def test_tests_lie_under_their_kind() -> None:
    kinds = {path.parts[1] for path in tracked("tests/*.py") if len(path.parts) > 2}
    known = {"unit", "conformance", "property", "integration", "e2e", "chaos", "wire", "repo", "support"}
    assert kinds - known == set()


def test_test_modules_have_no_package_when_imported_by_path() -> None:
    packages = [path for path in tracked("tests/*.py") if path.name == "__init__.py"]
    assert packages == [Path("tests/support/__init__.py")]
