"""The first half of finding mistakes: what of a document has the right form. The part that has it becomes an
Application, however much is wrong elsewhere, so that `checks.py` can go on with the rest in the same run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from registry.definitions import Application
from registry.document import Document, Node
from registry.problems import FilePath, Problem, dotted
from registry.wording import is_mark, message_of

_UNNAMED = "unnamed"
_ROUNDS_LIMIT = 100


@dataclass(slots=True)
class Shape:
    """A document, its part that has the right form, and what was left out.

    `broken` are the paths left out, in the file's own numbering; `kept` says for each list that lost items
    which ones are left.
    """

    document: Document
    application: Application
    broken: set[FilePath] = field(default_factory=set)
    kept: dict[FilePath, list[int]] = field(default_factory=dict)

    def file_path(self, path: FilePath) -> FilePath:
        """Return where a part of `application` stands in the file, or would; steps of the long spelling that
        the file leaves out are left out.
        """
        node = self.document.root
        found: FilePath = ()
        for place, step in enumerate(path):
            key = str(self.kept[found][int(step)]) if found in self.kept and step.isdecimal() else step
            child = node.child(key)
            if child is not None:
                node, found = child, (*found, key)
            elif place == len(path) - 1 and isinstance(node.value, dict):
                found = (*found, key)
        return found


def read_shape(document: Document) -> Shape | None:
    """Return the part of the document that has the right form; None where nothing is left of it.

    Every mistake of form is in the document's `problems` afterwards, once.
    """
    return _Pruning(document).run()


class _Pruning:
    """Validates, leaves out what is wrong, validates again, until what is left is right."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._broken: set[FilePath] = set()
        self._kept: dict[FilePath, list[int]] = {}
        self._data: Any = None

    def run(self) -> Shape | None:
        self._leave_out_empty(self._document.root, ())
        if self._document.root.child("app") is None:
            self._report(("app",), "is required: it names the application")
        for _ in range(_ROUNDS_LIMIT):
            self._data = {"app": _UNNAMED, **self._whole(self._document.root, ())}
            try:
                application = Application.model_validate(self._data)
            except ValidationError as error:
                if not self._leave_out(error.errors(include_url=False)):
                    return None
            else:
                return Shape(self._document, application, self._broken, self._kept)
        return None

    def _leave_out_empty(self, node: Node, path: FilePath) -> None:
        """Leave out keys without a value: half-written lines."""
        for key, child in node.children():
            if child.value is None:
                self._report((*path, key), "has no value: give it one or remove it")
                self._broken.add((*path, key))
            else:
                self._leave_out_empty(child, (*path, key))

    def _leave_out(self, errors: list[ErrorDetails]) -> bool:
        """Report each error that no earlier one has caused. Return whether anything more was left out."""
        earlier = set(self._broken)
        for error in errors:
            path = self._file_path(error["loc"])
            if not any(other[: len(path)] == path for other in earlier):
                self._report(path, message_of(error))
            cause = path[:-1] if error["type"] == "missing" else self._document.locate(path)[0]
            self._broken.add(cause)
        return len(self._broken) > len(earlier)

    def _whole(self, node: Node, path: FilePath) -> Any:
        """Return the data under `path` without what is broken."""
        if not isinstance(node.value, (dict, list)):
            return node.value
        parts = [(key, child) for key, child in node.children() if (*path, key) not in self._broken]
        if isinstance(node.value, dict):
            return {key: self._whole(child, (*path, key)) for key, child in parts}
        if len(parts) < len(node.value):
            self._kept[path] = [int(key) for key, _ in parts]
        return [self._whole(child, (*path, key)) for key, child in parts]

    def _file_path(self, location: tuple[int | str, ...]) -> FilePath:
        """Return the place in the file that pydantic means.

        Its locations are those of the long spelling, with marks in angle or square brackets: where the file
        has the short one, the place is as deep as the file goes.
        """
        data: Any = self._data
        found: FilePath = ()
        for part in location:
            if isinstance(data, dict) and part in data:
                data, key = data[part], str(part)
            elif isinstance(data, list) and isinstance(part, int) and part < len(data):
                data, key = data[part], str(self._kept.get(found, range(len(data)))[part])
            elif isinstance(data, dict) and not is_mark(part) and part == location[-1]:
                data, key = None, str(part)
            else:
                continue
            found = (*found, key)
        return found

    def _report(self, path: FilePath, message: str) -> None:
        _, line = self._document.locate(path)
        self._document.problems.append(Problem(dotted(path), line, message))
