"""Which failure is which exit code, and the lines that say so: 0 done, 1 failed, 2 bad usage, file or
setting, 3 refused by a rule.
"""

from __future__ import annotations

from pathlib import Path

from forebay.errors import Error, InvalidRequest, NotFound

from jobs.refused import Refused
from registry.application_file import ApplicationFileError, Problem
from runtime.settings import SettingsError

FAILED = 1
BAD_USAGE = 2
REFUSED = 3


def exit_code(error: Exception) -> int:
    """Return the exit code of a failure."""
    if isinstance(error, Refused):
        return REFUSED
    if isinstance(error, (InvalidRequest, NotFound, ApplicationFileError, SettingsError)):
        return BAD_USAGE
    return FAILED


def describe(error: Exception) -> str:
    """Return what to print: a line per problem."""
    if isinstance(error, ApplicationFileError):
        return "\n".join(located(problem, error.file) for problem in error.problems)
    if isinstance(error, Refused):
        return f"refused: {error}"
    if isinstance(error, (Error, SettingsError, OSError)):
        return "\n".join(f"error: {line}" if line[:1].strip() else line for line in str(error).splitlines())
    return f"error: {type(error).__name__}: {error} (a bug: `forebay --debug ...` shows where)"


def located(problem: Problem, file: Path | None) -> str:
    """Return a mistake as compilers write it, so that editors jump to it: `file:line: path: message`."""
    place = [str(file or "application"), *([str(problem.line)] if problem.line else [])]
    return ": ".join([":".join(place), *([problem.path] if problem.path else []), problem.message])
