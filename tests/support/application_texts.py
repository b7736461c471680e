"""Application files as text, for tests that change one thing of a whole."""

from __future__ import annotations

from pathlib import Path

from registry.application_file import Problem, parse_application
from registry.definitions import Application
from registry.problems import ApplicationFileError

FILES = Path(__file__).resolve().parent.parent / "unit" / "registry" / "files"
MOVIES = (FILES / "movies.yaml").read_text()
"""The contract's example without what this version refuses."""


def changed(old: str, new: str, text: str = MOVIES) -> str:
    """Return the text with `old`, which must be in it, replaced by `new`."""
    assert old in text, old
    return text.replace(old, new)


def application(text: str = MOVIES) -> Application:
    """Return the application that a text describes."""
    return parse_application(text.encode())[0]


def problems(text: str) -> list[Problem]:
    """Return the mistakes of a text; none, if it is right."""
    try:
        parse_application(text.encode())
    except ApplicationFileError as error:
        return error.problems
    return []
