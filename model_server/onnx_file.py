"""Reads a model file whole and refuses what would make ONNX Runtime read other files: external data is
resolved against the working directory even when a model is loaded from bytes. Walks the protobuf's structure
without the `onnx` package, which the server doesn't need otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import NotFound, NotUsable

MAX_DEPTH = 100
"""Deepest nesting of messages, which is protobuf's own limit."""

_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Where tensors are in a model: message -> field number -> message. Source: onnx.proto3 of ONNX 1.23."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A model's bytes, as they were read once, hashed and are loaded from."""

    content: bytes
    sha256: str


def read_onnx(path: Path, label: str, max_bytes: int) -> OnnxFile:
    """Return the file, which refers to no other.

    Raises: NotFound; NotUsable where it is too large, isn't ONNX, keeps weights elsewhere, or can't be read.
    Cost: memory for the file; 1 s per million nodes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{label} has no {path.name}") from error
    except OSError as error:
        raise NotUsable(f"{label}: {path.name} can't be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise NotUsable(f"{label} is larger than max_model_bytes, {max_bytes:,} bytes")
    try:
        is_external = has_external_data(content)
    except ValueError as error:
        raise NotUsable(f"{label} isn't an ONNX file: {error}") from error
    if is_external:
        raise NotUsable(
            f"{label} keeps weights in other files (external data), which is refused: save it as one file, "
            "with onnx.save(model, path, save_as_external_data=False)"
        )
    return OnnxFile(content, hashlib.sha256(content).hexdigest())


def has_external_data(content: bytes) -> bool:
    """Return whether any tensor of the model, however deep, is kept outside of it.

    Raises: ValueError where the bytes aren't a protobuf message.
    """
    waiting = [("model", 0, len(content), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError("messages are nested too deep")
        for number, kind, value, size in _fields(content, start, end):
            if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                return True
            child = _CHILDREN[message].get(number)
            if child is not None and kind == _BYTES:
                waiting.append((child, value, value + size, depth + 1))
    return False


def _fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, value, size) of each field; of bytes, the value is where they begin."""
    place = start
    while place < end:
        tag, place = _varint(content, place, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError("a field has no valid number")
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        value = place
        if kind == _VARINT:
            value, place = _varint(content, place, end)
        elif kind == _BYTES:
            size, place = _varint(content, place, end)
            value = place
        elif not size:
            raise ValueError("a field has no valid type")
        place += size
        if place > end:
            raise ValueError("it ends within a field")
        yield number, kind, value, size


def _varint(content: bytes, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise ValueError("it ends within a number")
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number is too long")
