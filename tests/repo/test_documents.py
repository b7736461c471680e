"""The documents' promises: the README's life of a request, links, and make targets."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.source_files import ROOT, syntax, tracked

STEPS = ("admit", "recall", "hydrate", "retrieve", "hydrate candidates", "assemble", "predict", "select")
STEP = re.compile(r"^\d\. \*\*([\w ]+)\*\*(.*(?:\n +.*)*)", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
MAKE = re.compile(r"`make ([a-z-]+)")
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
DOCUMENTS = tracked("*.md")


def steps() -> list[tuple[str, str]]:
    """Return the README's numbered steps: name and text."""
    return STEP.findall((ROOT / "README.md").read_text())


def test_the_readme_tells_the_eight_steps_in_order() -> None:
    assert [name for name, _ in steps()] == list(STEPS)


@pytest.mark.parametrize("position", range(len(STEPS)), ids=STEPS)
def test_a_step_links_a_file_and_names_a_symbol_in_it(position: int) -> None:
    _, text = steps()[position]
    modules = [Path(target) for target in LINK.findall(text) if target.endswith(".py")]
    assert modules, "a step links the file in which it lives"
    named = {symbol.removesuffix("()") for symbol in re.findall(r"`([A-Za-z_]\w*(?:\(\))?)`", text)}
    for module in modules:
        assert defined_in(module) & named, f"{module} defines none of {sorted(named)}"


def defined_in(path: Path) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(syntax(path)) if isinstance(node, kinds)}


def test_documents_link_files_that_exist() -> None:
    broken = [
        f"{document}: {link}"
        for document in DOCUMENTS
        for link in LINK.findall((ROOT / document).read_text())
        if not (ROOT / document.parent / link).exists()
    ]
    assert broken == []


def test_documents_name_make_targets_that_exist() -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    named = {name for document in DOCUMENTS for name in MAKE.findall((ROOT / document).read_text())}
    assert named - targets == set()
