"""The small values of the feature store: what a read says of a value, what a write says of a row, a key
field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from registry.dtypes import DType


class Status(IntEnum):
    """What a read says of one value, as the byte that goes over the wire."""

    PRESENT = 1
    NULL = 2
    """The row is there, the value isn't."""
    NOT_FOUND = 3
    """There is no row."""
    STALE = 4
    """The value is there and older than the view's max_age."""
    DEFAULTED = 5
    """Null or not found, and replaced by the declared default."""
    ERROR = 6
    """The stored bytes can't be trusted; there is no value, nor its default."""


class Outcome(IntEnum):
    """What became of one row of a write, as the byte that goes over the wire."""

    APPLIED = 1
    OLDER = 2
    """A newer row was there already; it stays."""
    INVALID = 3
    """The row can't be stored; nothing changed."""


@dataclass(frozen=True, slots=True)
class KeyField:
    """One field of an entity's key. `dtype` is int32, int64 or string."""

    name: str
    dtype: DType
