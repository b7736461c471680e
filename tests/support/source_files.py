"""The repository's own files, for tests that read the code instead of running it."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FLOORS = (
    "cli",
    "jobs",
    "gateway",
    "feature_store",
    "ann_index",
    "model_server",
    "registry",
    "runtime",
)
OWN_PACKAGES = (*FLOORS, "forebay")
GENERATED = ("sdk/forebay/v1/", "sdk/forebay/_rpc/bundled/", "model_server/oip/")
CLEAN_PYTHON = ROOT / ".venv-proto/bin/python"
"""An environment without anything of the server's, on the oldest protobuf that is supported."""


@cache
def tracked(pattern: str = "*") -> tuple[Path, ...]:
    """Return the files under version control, or about to be, that match a git pattern."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", pattern]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(line) for line in listing.splitlines() if (ROOT / line).is_file())


def written_modules() -> tuple[Path, ...]:
    """Return the Python files that people write, tests left out."""
    return tuple(
        path
        for path in tracked("*.py")
        if path.parts[0] != "tests" and not path.as_posix().startswith(GENERATED)
    )


@cache
def syntax(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def imported_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the module that each import statement under `tree` names, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno
