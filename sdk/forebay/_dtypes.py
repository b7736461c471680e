"""Element types on the wire, and how each is packed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forebay.v1 import values_pb2 as pb


@dataclass(frozen=True, slots=True)
class Scalar:
    """An element type: its name in application files, its number on the wire, its codes in packing."""

    name: str
    number: pb.DType
    code: str
    numpy: str
    size_bytes: int


BOOL = Scalar("bool", pb.DTYPE_BOOL, "?", "?", 1)
INT32 = Scalar("int32", pb.DTYPE_INT32, "i", "<i4", 4)
INT64 = Scalar("int64", pb.DTYPE_INT64, "q", "<i8", 8)
FLOAT16 = Scalar("float16", pb.DTYPE_FLOAT16, "e", "<f2", 2)
FLOAT32 = Scalar("float32", pb.DTYPE_FLOAT32, "f", "<f4", 4)
FLOAT64 = Scalar("float64", pb.DTYPE_FLOAT64, "d", "<f8", 8)
STRING = Scalar("string", pb.DTYPE_STRING, "", "", 0)
TIMESTAMP = Scalar("timestamp", pb.DTYPE_TIMESTAMP, "q", "<i8", 8)

SCALARS = (BOOL, INT32, INT64, FLOAT16, FLOAT32, FLOAT64, STRING, TIMESTAMP)
BY_NAME = {scalar.name: scalar for scalar in SCALARS}
BY_NUMBER: dict[int, Scalar] = {scalar.number: scalar for scalar in SCALARS}
FLOATS = (FLOAT16, FLOAT32, FLOAT64)

_PATTERN = re.compile(r"([a-z0-9]+)(?:\[(\d*)\])?")


@dataclass(frozen=True, slots=True)
class DType:
    """A column's type: `length` is None for a scalar, 0 for a variable list, else a fixed list's."""

    scalar: Scalar
    length: int | None = None

    @classmethod
    def parse(cls, text: str) -> DType:
        """Return the type that `float32`, `float32[19]` or `int64[]` names. Raises: ValueError."""
        match = _PATTERN.fullmatch(text)
        if match is None or match[1] not in BY_NAME:
            raise ValueError(f"unknown dtype {text}: this version of forebay is older than the server's")
        return cls(BY_NAME[match[1]], None if match[2] is None else int(match[2] or 0))

    def __str__(self) -> str:
        return self.scalar.name if self.length is None else f"{self.scalar.name}[{self.length or ''}]"
