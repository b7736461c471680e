"""Reads an application file and finds all its mistakes at once: of the text (`document.py`), of form
(`shape.py`), of sense (`data_checks.py`, `pipeline_checks.py`), and of what isn't served (`supported.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.data_checks import check_data
from registry.definitions import Application
from registry.document import MAX_FILE_BYTES, DocumentError, read_document
from registry.pipeline_checks import check_pipelines
from registry.problems import ApplicationFileError, Problem
from registry.scope import Scope
from registry.shape import Shape, read_shape
from registry.supported import check_supported

__all__ = [
    "ApplicationFile",
    "ApplicationFileError",
    "Problem",
    "check_application",
    "json_schema",
    "load_application",
    "load_application_file",
    "parse_application",
]


@dataclass(frozen=True, slots=True)
class ApplicationFile:
    """A file without mistakes.

    `root` is the directory that its relative paths start from; `warnings` say what of it has no effect;
    `shape` gives the lines of its parts.
    """

    application: Application
    root: Path
    warnings: tuple[Problem, ...]
    shape: Shape = field(repr=False, compare=False)

    def scope(self) -> Scope:
        """Return a scope for checks that need more than the file, to report what they find with its lines."""
        return Scope(self.application, self.shape)


def load_application(path: Path) -> Application:
    """Return the application that a file describes.

    Raises: ApplicationFileError, with every mistake; OSError, where the file can't be read.
    """
    return load_application_file(path).application


def load_application_file(path: Path) -> ApplicationFile:
    """Return the application that a file describes, with what a caller may want to warn of.

    Raises: ApplicationFileError, with every mistake; OSError, where the file can't be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    shape, warnings = _checked(content, path)
    return ApplicationFile(shape.application, path.resolve().parent, warnings, shape)


def parse_application(content: bytes, file: Path | None = None) -> tuple[Application, tuple[Problem, ...]]:
    """Return the application in `content`, and warnings; `file` is named in the error.

    Raises: ApplicationFileError, with every mistake.
    """
    shape, warnings = _checked(content, file)
    return shape.application, warnings


def check_application(application: Application, shape: Shape | None = None) -> list[Problem]:
    """Return the broken rules of an application, and warnings; `shape` gives them their lines."""
    scope = Scope(application, shape)
    check_data(scope)
    check_pipelines(scope)
    check_supported(scope)
    return list(dict.fromkeys(scope.problems))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an application file, for editors; the rules between parts aren't in it."""
    schema = Application.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _checked(content: bytes, file: Path | None) -> tuple[Shape, tuple[Problem, ...]]:
    try:
        document = read_document(content)
    except DocumentError as error:
        raise ApplicationFileError([error.problem], file) from error
    shape = read_shape(document)
    if shape is None:
        raise ApplicationFileError(document.problems, file)
    found = check_application(shape.application, shape)
    errors = [problem for problem in found if problem.severity == "error"]
    if document.problems or errors:
        raise ApplicationFileError([*document.problems, *errors], file)
    return shape, tuple(problem for problem in found if problem.severity == "warning")
