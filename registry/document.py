"""A YAML text as a tree of values that know their lines. Bounded: size, depth, what aliases expand to.

Scalars follow YAML 1.2's core schema: `off` and `2024-01-01` are text, only `true` and `false` are booleans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from registry.problems import FilePath, Problem, dotted, shown

MAX_FILE_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_VALUES = 100_000
"""How many values a file may hold, each alias counted as what it stands for."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,6})?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_BRACKETED = re.compile(r"[\w.]+\[\d*\]")
"""`float32[19]`, `int64[]`, `probability[1]`: text to YAML, inside `{}` or `[]`, only between quotes."""

_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")


class DocumentError(Exception):
    """The text is no document; nothing after the place can be read."""

    def __init__(self, line: int, message: str, path: FilePath = ()) -> None:
        super().__init__(message)
        self.problem = Problem(dotted(path), line, message)


@dataclass(slots=True)
class Node:
    """A value and the line where it, or its key, stands.

    `size` counts it and all that it holds; `height` the levels below it.
    """

    line: int
    value: str | int | float | bool | dict[str, Node] | list[Node] | None
    size: int = 1
    height: int = 0

    def child(self, key: str) -> Node | None:
        """Return what stands under a key, or at a position in a list; None where nothing does."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and key.isdecimal() and int(key) < len(self.value):
            return self.value[int(key)]
        return None

    def children(self) -> list[tuple[str, Node]]:
        """Return what stands directly below, by key or by position in decimal."""
        if isinstance(self.value, dict):
            return list(self.value.items())
        if isinstance(self.value, list):
            return [(str(place), node) for place, node in enumerate(self.value)]
        return []


@dataclass(slots=True)
class Document:
    """The tree, and the mistakes that didn't stop it from being read."""

    root: Node
    problems: list[Problem] = field(default_factory=list)

    def locate(self, path: FilePath) -> tuple[FilePath, int]:
        """Return the deepest part of `path` that stands in the file, and its line."""
        node, found = self.root, []
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
            found.append(key)
        return tuple(found), node.line

    def names(self, path: FilePath) -> list[str]:
        """Return the keys that the file has under `path`, whatever they hold."""
        node: Node | None = self.root
        for key in path:
            node = None if node is None else node.child(key)
        return [] if node is None or isinstance(node.value, list) else [key for key, _ in node.children()]


def read_document(content: bytes) -> Document:
    """Return the one document that `content` holds.

    Raises: DocumentError, where it isn't UTF-8, isn't YAML, is empty, or passes a limit.
    """
    if len(content) > MAX_FILE_BYTES:
        raise DocumentError(1, f"the file is larger than {MAX_FILE_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(line, "the file is not UTF-8 text") from error
    try:
        return _Reader(text).read()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(text, error) from error
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        raise DocumentError(
            text.count("\n", 0, position) + 1, "a character that YAML does not allow"
        ) from error


def _syntax_error(text: str, error: yaml.MarkedYAMLError) -> DocumentError:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines() or [""]
    line = min(mark.line + 1 if mark is not None else 1, len(lines))
    if "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]:
        return DocumentError(line, "a tab cannot indent YAML: use spaces")
    context = f" {error.context}" if error.context else ""
    hint = "" if mark is None else _quoting_hint(lines[line - 1], mark.column)
    return DocumentError(line, f"not valid YAML: {error.problem or 'it breaks off'}{context}{hint}")


def _quoting_hint(line: str, column: int) -> str:
    """Return what to do where the parser stopped at a bracket that belongs to a word."""
    for match in _BRACKETED.finditer(line):
        if match.start() <= column <= match.end():
            return f'; put quotes around it here: "{match[0]}"'
    return ""


class _Reader:
    """Builds the tree from the parser's events, so that no depth and no alias can exhaust the process."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_PARSER)
        self._anchors: dict[str, Node] = {}
        self._problems: list[Problem] = []

    def read(self) -> Document:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise DocumentError(_line(event), "the file holds more than one document")
                root = self._node(next(self._events), (), _line(event))
        if root is None or root.value is None:
            raise DocumentError(1, "the file is empty")
        if not isinstance(root.value, dict):
            raise DocumentError(root.line, "the file must be a mapping that starts with `app: NAME`")
        return Document(root, self._problems)

    def _node(self, event: yaml.Event, path: FilePath, line: int) -> Node:
        if len(path) > MAX_DEPTH:
            raise DocumentError(_line(event), f"nested deeper than {MAX_DEPTH} levels", path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, line)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line, self._scalar(event, path))
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, path, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, path, line)
        else:
            raise DocumentError(_line(event), "not valid YAML")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, path: FilePath, line: int) -> Node:
        target = self._anchors.get(event.anchor or "")
        if target is None:
            raise DocumentError(_line(event), f"no value is anchored as {shown(event.anchor)}", path)
        if len(path) + target.height > MAX_DEPTH:
            raise DocumentError(line, f"nested deeper than {MAX_DEPTH} levels, aliases expanded", path)
        return Node(line, target.value, self._counted(target.size, line, path), target.height)

    def _mapping(self, start: yaml.MappingStartEvent, path: FilePath, line: int) -> Node:
        self._refuse_tag(start, path)
        children: dict[str, Node] = {}
        size, height = 1, 0
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key_line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentError(key_line, "a key must be text", path)
            key = event.value
            inner = (*path, key)
            child = self._node(next(self._events), inner, key_line)
            size = self._counted(size + child.size, key_line, path)
            height = max(height, child.height + 1)
            if key in children:
                first = children[key].line
                self._problem(inner, key_line, f"{shown(key)} is given twice, first on line {first}")
            elif key == "<<":
                self._problem(inner, key_line, "merge keys (<<) are not read: write the values out")
            else:
                children[key] = child
        return Node(line, children, size, height)

    def _sequence(self, start: yaml.SequenceStartEvent, path: FilePath, line: int) -> Node:
        self._refuse_tag(start, path)
        items: list[Node] = []
        size, height = 1, 0
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item = self._node(event, (*path, str(len(items))), _line(event))
            size = self._counted(size + item.size, item.line, path)
            height = max(height, item.height + 1)
            items.append(item)
        return Node(line, items, size, height)

    def _scalar(self, event: yaml.ScalarEvent, path: FilePath) -> str | int | float | bool | None:
        if event.tag not in _TEXT_TAGS:
            self._refuse_tag(event, path)
        if event.tag is not None or not event.implicit[0]:
            return str(event.value)
        return _plain(event.value)

    def _refuse_tag(self, event: Any, path: FilePath) -> None:
        if event.tag is not None:
            self._problem(path, _line(event), f"tags are not read: remove {shown(event.tag)}")

    def _problem(self, path: FilePath, line: int, message: str) -> None:
        self._problems.append(Problem(dotted(path), line, message))

    def _counted(self, size: int, line: int, path: FilePath) -> int:
        if size > MAX_VALUES:
            raise DocumentError(line, f"holds more than {MAX_VALUES} values, aliases expanded", path)
        return size


def _plain(text: str) -> str | int | float | bool | None:
    """Return what a scalar without quotes stands for."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
