"""What the checks of an application look things up in, and where they report. It knows also the names whose
definitions are broken, so that one mistake isn't reported again wherever the name is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from registry.definitions import Application, split_column
from registry.dtypes import DType
from registry.problems import FilePath, Problem, dotted, suggestion
from registry.shape import Shape

RESERVED_VIEWS = ("request", "retrieve")
"""What stands where a view does in `request.hour` and `retrieve.score`."""

_KINDS = {
    "entities": "entity",
    "sources": "source",
    "streams": "stream",
    "views": "view",
    "indexes": "index",
    "models": "model",
}


class Scope:
    """An application under examination; `shape` is the file that it came from, if it came from one."""

    def __init__(self, application: Application, shape: Shape | None = None) -> None:
        self.application = application
        self.problems: list[Problem] = []
        self._shape = shape

    def report(self, path: FilePath, message: str, severity: Literal["error", "warning"] = "error") -> None:
        """Note a problem at `path`, which is a place in the application."""
        line = 0
        if self._shape is not None:
            path = self._shape.file_path(path)
            _, line = self._shape.document.locate(path)
        self.problems.append(Problem(dotted(path), line, message, severity))

    def is_broken(self, *path: str) -> bool:
        """Return whether something at `path`, or below it, was left out for its form."""
        if self._shape is None:
            return False
        return any(left_out[: len(path)] == path for left_out in self._shape.broken)

    def names(self, *path: str) -> list[str]:
        """Return the keys that the file declares under `path`, broken or not."""
        if self._shape is not None:
            return self._shape.document.names(path)
        section: Mapping[str, object] = getattr(self.application, path[0])
        if len(path) == 1:
            return list(section)
        inner: Mapping[str, object] = getattr(section[path[1]], path[2])
        return list(inner)

    def knows(self, section: str, name: str, path: FilePath) -> bool:
        """Return whether `name` can be looked up in a section; report it at `path` if nobody declares it."""
        if name in getattr(self.application, section):
            return True
        declared = self.names(section)
        if name not in declared:
            self.report(path, f"unknown {_KINDS[section]} {name!r}: {suggestion(name, declared)}")
        return False

    def column(self, column: str, path: FilePath) -> DType | None:
        """Return the type of `view.feature`; None where it isn't known, with a report if the name is wrong.

        Another application's columns have no type here.
        """
        view, feature = split_column(column)
        if "/" in view or not self.knows("views", view, path):
            return None
        dtype = self.application.views[view].dtypes.get(feature)
        if dtype is None:
            declared = self.names("views", view, "features") + self.names("views", view, "windows")
            if feature not in declared:
                self.report(
                    path, f"view {view!r} has no feature {feature!r}: {suggestion(feature, declared)}"
                )
        return dtype
