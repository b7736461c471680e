"""The protocol of an event source: one partition of a stream, read in order from a position.
`redis_source.py` and `kafka_source.py` are the real ones; what events say is `decoding.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

BEGINNING = -1
"""The position before every entry."""

EventFormat = Literal["fields", "json"]
"""How a source's payloads say an event: a flat list of field names and texts (bytes, in turn), or the bytes
of one JSON object."""


@dataclass(frozen=True, slots=True)
class Entries:
    """n entries of a partition, in its order.

    Shapes: positions (n,) int64, ascending; payloads n. `published_ms` is when the source took in the last
    one, milliseconds UTC; 0 where nobody knows. `at_end`: nothing else was there when the read began.
    """

    positions: NDArray[np.int64]
    payloads: Sequence[Any]
    published_ms: int
    at_end: bool

    @property
    def count(self) -> int:
        return len(self.payloads)


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds: the position of the oldest entry that it holds (behind `newest`, where it holds
    none), of the newest it ever had, how many it holds, and how many it was ever given."""

    oldest: int
    newest: int
    held: int
    added: int


EMPTY = Extent(BEGINNING, BEGINNING, 0, 0)


@dataclass(frozen=True, slots=True)
class LastRead:
    """How far a partition was read and applied: of which incarnation, up to which position, which was the
    `ordinal`-th entry, and when the source took that one in."""

    incarnation: str
    position: int = BEGINNING
    ordinal: int = 0
    published_ms: int = 0


class EventSource(Protocol):
    """One partition of a stream.

    Positions are int64, at least 0, and only grow in one incarnation: the life of a stream between its
    creation and its end. A stream that was deleted and made anew under its name, so that positions come
    again, is another incarnation; who wrote down positions writes down the incarnation too.

    Raises, from every method: Unavailable where the source can't be reached; NotUsable where it can't be used
    as it is, saying why. After either, a source is closed and another one opened.
    Cancellation: between calls the source may be used again, during one only closed.
    """

    format: EventFormat

    async def identify(self, last: LastRead | None) -> str:
        """Return the incarnation of the stream as it is now: `last.incarnation` exactly where `last` was read
        from it."""
        ...

    async def extent(self) -> Extent:
        """Return what the partition holds. Cost: one round trip."""
        ...

    async def read(self, after: int, count: int, wait_s: float) -> Entries:
        """Return the first entries behind the position `after`, at most `count`; none if none came within
        about `wait_s`. Entries before the oldest that is held are passed over."""
        ...

    async def rewound(self, last: LastRead, window_s: float) -> int:
        """Return the position behind which all entries lie that came in the `window_s` before `last`."""
        ...

    async def aclose(self) -> None:
        """Release what the source holds. A second call does nothing."""
        ...


def lag_of(extent: Extent, last: LastRead) -> int:
    """Return how many entries a partition holds behind `last`."""
    if extent.newest <= last.position:
        return 0
    return max(0, min(extent.held, extent.added - last.ordinal))


def lost_behind(extent: Extent, last: LastRead) -> int:
    """Return how many entries behind `last` were dropped before anybody read them."""
    if last.position == BEGINNING or extent.oldest <= last.position:
        return 0
    return max(0, extent.added - extent.held - last.ordinal)
