"""The types of features and keys, as the application file writes them: float32, float32[19], int64[]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import numpy as np


class Scalar(Enum):
    """An element type. The value is its name in the application file."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp"

    # Members are looked up in dictionaries on the request path; Enum's own hash is a Python function.
    __hash__ = object.__hash__

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The little-endian numpy type; timestamps are int64 microseconds; strings have none (object)."""
        return _NUMPY[self]

    @property
    def is_float(self) -> bool:
        return self in (Scalar.FLOAT16, Scalar.FLOAT32, Scalar.FLOAT64)

    @property
    def is_integer(self) -> bool:
        return self in (Scalar.INT32, Scalar.INT64)


_NUMPY: dict[Scalar, np.dtype[np.generic]] = {
    Scalar.BOOL: np.dtype("?"),
    Scalar.INT32: np.dtype("<i4"),
    Scalar.INT64: np.dtype("<i8"),
    Scalar.FLOAT16: np.dtype("<f2"),
    Scalar.FLOAT32: np.dtype("<f4"),
    Scalar.FLOAT64: np.dtype("<f8"),
    Scalar.STRING: np.dtype(object),
    Scalar.TIMESTAMP: np.dtype("<i8"),
}

_LARGEST: dict[Scalar, float] = {
    Scalar.INT32: 2**31,
    Scalar.INT64: 2**63,
    Scalar.TIMESTAMP: 2**63,
    Scalar.FLOAT16: float(np.finfo(np.float16).max),
    Scalar.FLOAT32: float(np.finfo(np.float32).max),
    Scalar.FLOAT64: float(np.finfo(np.float64).max),
}


MIN_TIMESTAMP_US, MAX_TIMESTAMP_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999: what Python, Arrow and SQL can all say. Nanoseconds by mistake are outside."""

_WHOLE: dict[Scalar, tuple[int, int]] = {
    Scalar.INT32: (-(2**31), 2**31 - 1),
    Scalar.INT64: (-(2**63), 2**63 - 1),
    Scalar.TIMESTAMP: (MIN_TIMESTAMP_US, MAX_TIMESTAMP_US),
}


def whole_range(scalar: Scalar) -> tuple[int, int]:
    """Return the least and the greatest integer that is a `scalar`: an int32, an int64, a timestamp."""
    return _WHOLE[scalar]


def overflows(source: Scalar, target: Scalar) -> bool:
    """Return whether a number may be a `source` and out of the range of `target`."""
    return target in _LARGEST and _LARGEST.get(source, 0) > _LARGEST[target]


MAX_LIST_LENGTH = 65_536
MAX_STRING_BYTES = 65_536
"""In UTF-8."""
_PATTERN = re.compile(r"([a-z0-9]+)(\[(\d*)\])?")


@dataclass(frozen=True, slots=True)
class DType:
    """A feature's type: a scalar, a fixed list of `length` scalars, or a variable list.

    `length` is 1 for a scalar; for a variable list it is 0.
    """

    scalar: Scalar
    is_list: bool = False
    length: int = 1

    @property
    def is_variable(self) -> bool:
        """Whether a value's size differs from row to row: variable lists and strings."""
        return self.is_variable_list or self.scalar is Scalar.STRING

    @property
    def is_variable_list(self) -> bool:
        return self.is_list and self.length == 0

    def __str__(self) -> str:
        if not self.is_list:
            return self.scalar.value
        return f"{self.scalar.value}[{self.length or ''}]"

    @classmethod
    def parse(cls, text: str) -> DType:
        """Return the type that `text` names.

        Raises: ValueError, with what is wrong and what is allowed.
        """
        match = _PATTERN.fullmatch(text)
        names = [scalar.value for scalar in Scalar]
        if match is None or match[1] not in names:
            raise ValueError(
                f"unknown dtype {text!r}: use one of {', '.join(names)}, "
                "with [N] for a fixed list, [] for a variable one"
            )
        if match[2] is None:
            return cls(Scalar(match[1]))
        length = int(match[3] or 0)
        if match[3] and not 1 <= length <= MAX_LIST_LENGTH:
            raise ValueError(f"a fixed list has 1 to {MAX_LIST_LENGTH} elements, not {length}")
        return cls(Scalar(match[1]), is_list=True, length=length)


_WIDER: dict[Scalar, frozenset[Scalar]] = {
    Scalar.INT32: frozenset({Scalar.INT64, Scalar.FLOAT64}),
    Scalar.FLOAT16: frozenset({Scalar.FLOAT32, Scalar.FLOAT64}),
    Scalar.FLOAT32: frozenset({Scalar.FLOAT64}),
}


def widens(old: DType, new: DType) -> bool:
    """Return whether every value of `old` is one of `new`, exactly: the same type, or a wider number, in
    lists of the same length. An int64 is no float64: above 2**53 it would be rounded."""
    if old == new:
        return True
    same_form = (old.is_list, old.length) == (new.is_list, new.length)
    return same_form and new.scalar in _WIDER.get(old.scalar, frozenset())
