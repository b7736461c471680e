"""Events on their way into rows: columns of one partition's events, and what became of each. Where they come
from is jobs/stream's business; writer.py brings them into the rows of a view.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store.row_header import MAX_TIME_US

MAX_EVENTS = 65_536
"""Of one block. Their rows are written a few at a time, but a row takes all of its events at once."""


class EventOutcome(IntEnum):
    """What became of one event, in one row. After CORRUPT and CROWDED the row is as it was; the others are
    settled, and the event needn't be given again.
    """

    APPLIED = 1
    REPEATED = 2
    """The row holds it already, or something later of its partition."""
    LATE = 3
    """Its tile has left the ring."""
    DELETED = 4
    """It isn't newer than the deletion of its entity."""
    CORRUPT = 5
    """What is stored under the key is no row of this ring; it stays. Deleting the entity makes room."""
    CROWDED = 6
    """The row was touched by as many partitions as it keeps positions of (ring_row.MAX_POSITIONS)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where positions count: one partition of one incarnation of a stream.

    Positions of an incarnation are never given to other events; a stream that is made anew, or a run over its
    history, is another incarnation. Raises: ValueError.
    """

    incarnation: int
    partition: int

    def __post_init__(self) -> None:
        if not (0 <= self.incarnation < 2**64 and 0 <= self.partition < 2**32):
            raise ValueError("a source's incarnation has 64 bits, its partition 32")

    @property
    def packed(self) -> bytes:
        """The source as rows keep it, 12 bytes."""
        return struct.pack("<QI", self.incarnation, self.partition)


@dataclass(frozen=True, slots=True, eq=False)
class EventBlock:
    """n events of one source, in the order of their positions.

    `texts` are the entities' keys (keys.canonical_texts). `values` has one column for each field of the
    events; NaN where an event doesn't have it. A field that is only counted may be of any type: 1.0 stands
    for a value. A field that no window asks for is ignored.

    Shapes: texts n; event_times_us, positions (n,) int64; each of values (n,) float.
    Raises: ValueError for columns of another length, for more than MAX_EVENTS, positions that are negative or
    don't ascend, times that no row may have (row_header.MAX_TIME_US), and an infinite value.
    """

    source: Source
    texts: Sequence[str]
    event_times_us: NDArray[np.int64]
    positions: NDArray[np.int64]
    values: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        count = len(self.texts)
        if count > MAX_EVENTS:
            raise ValueError(f"a block has at most {MAX_EVENTS} events, not {count}")
        for name in ("event_times_us", "positions"):
            _check_column(name, getattr(self, name), count, "i")
        for name, values in self.values.items():
            _check_column(name, values, count, "f")
            if np.isinf(values).any():
                raise ValueError(f"field {name} has an infinite value")
        positions, times_us = self.positions, self.event_times_us
        if count and (positions[0] < 0 or (positions[1:] <= positions[:-1]).any()):
            raise ValueError("positions aren't negative, and ascend")
        if count and not -MAX_TIME_US <= times_us.min() <= times_us.max() <= MAX_TIME_US:
            raise ValueError(f"event times lie within {MAX_TIME_US} microseconds of 1970")

    def __len__(self) -> int:
        return len(self.texts)


def _check_column(name: str, values: NDArray[Any], count: int, kind: str) -> None:
    if values.shape != (count,) or values.dtype.kind != kind:
        raise ValueError(f"{name} has shape {values.shape} and type {values.dtype} for {count} events")
