"""What is wrong with an application file, each with its place; and the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FilePath = tuple[str, ...]
"""Where something stands in the file: keys from the top; positions in a list as decimal text."""

_SHOWN_LIMIT = 50
_NAMES_SHOWN = 12
_VALUE_LIMIT = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or one warning. `path` is dotted; `line` counts from 1; 0 where there is no file."""

    path: str
    line: int
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ApplicationFileError(ValueError):
    """The file can't be used. `problems` are all the mistakes found, in the order of their lines."""

    def __init__(self, problems: Iterable[Problem], file: Path | None = None) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.path))
        self.file = file
        count = len(self.problems)
        shown = [f"  {problem}" for problem in self.problems[:_SHOWN_LIMIT]]
        if count > _SHOWN_LIMIT:
            shown.append(f"  and {count - _SHOWN_LIMIT} more")
        heading = f"{file or 'the application'} has {count} mistake{'s' if count != 1 else ''}:"
        super().__init__("\n".join([heading, *shown]))


def dotted(path: FilePath) -> str:
    """Return the path as people write it: `pipelines.home.retrieve.query`."""
    return ".".join(path)


def shown(value: object) -> str:
    """Return the value as a message repeats it: quoted, and cut if it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _VALUE_LIMIT else text[: _VALUE_LIMIT - 3] + "..."


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what to say after "unknown name": the one that was probably meant, else those there are."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "there are none"
    more = "" if len(names) <= _NAMES_SHOWN else f" and {len(names) - _NAMES_SHOWN} more"
    return f"known: {', '.join(names[:_NAMES_SHOWN])}{more}"
