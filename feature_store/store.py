"""The protocol of an online store: opaque rows under opaque keys, newest wins. memory_store.py is the
executable specification, redis_store.py the real one; keys.py makes keys, encoder.py and row_block.py make
and read rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from forebay.deadline import NEVER, Deadline
from numpy.typing import NDArray

from feature_store.windows.events import EventBlock
from feature_store.windows.ring_row import RingForm

UNREAD: Final = bytes(bytearray(b"unread"))
"""Stands in the place of a row that couldn't be read although others could. It is no row: it is too short for
a header, and decodes as Status.ERROR. To be told from what was read by identity alone."""


class OnlineStore(Protocol):
    """Rows of bytes by key.

    A store looks at nothing of a row but its header (row_header.py): it orders rows by (event time, write
    time), compared as signed integers. It takes any number of keys in a call, in any order, repeats included,
    and answers in that order. Keys and rows are never changed or normalised: what was put comes back byte for
    byte.

    Raises, from every method: Unavailable when the store can't be reached, answers with a failure, or was
    closed; DeadlineExceeded when the answer isn't there by `deadline`, at once if it has passed already.
    Nothing else but ValueError, where `keys` and `rows` differ in length. An empty call returns at once and
    reads no clock.

    Cancellation: the caller stops waiting and other calls are not disturbed. A cancelled or failed write may
    have been applied to any of its rows; repeating it is safe and gives the same end state.
    """

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        """Return the row of each key, None where there is none, UNREAD where that can't be told although it
        can for others: a part of the store is out of reach. Raises only where nothing could be read.

        Cost: one round trip (one per node of a cluster) whatever the number of keys, within the store's
        chunk.
        """
        ...

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        """Store each row unless a newer one is there; return an Outcome per row, (n,) uint8.

        APPLIED: no row was there, or the one there isn't newer. An equal pair of times applies again, so a
        repeated batch is harmless and a corrected row of the same batch takes effect. OLDER: the row there
        has a greater (event time, write time); it stays. INVALID: `is_storable(row)` is false; nothing
        changed. A stored value too short for a header (corrupt) counts as no row.

        Each row is compared and stored atomically against every other writer; the batch as a whole isn't.
        Rows of one call that share a key are taken in order.

        Cost: one round trip per chunk of rows.
        """
        ...

    async def load_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> None:
        """Store each row, whatever was there: for the one writer that builds a generation nobody reads yet.

        Of rows of one call that share a key the last stays. Cost: one round trip per chunk of rows,
        pipelined.
        """
        ...

    async def delete_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> int:
        """Remove the rows of `keys`; return how many were there. Cost: one round trip per chunk of keys."""
        ...

    async def bury_many(
        self, keys: Sequence[bytes], time_us: int, kept_s: float, deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        """Put a tombstone (row_header.py) under each key, whether a row is there or not; return an Outcome
        per key, (n,) uint8.

        APPLIED: nothing is left that was written by `time_us`, and for `kept_s` put_many takes no row that is
        older than the tombstone, whose event time and write time are `time_us`. OLDER: a row stays, for it is
        newer than the tombstone and was written later. So a row from the future goes, if it was there; and a
        row of tiles goes always, for it holds what came before. After `kept_s` a tombstone is gone as if by
        delete_many, unless a row has taken its place.

        Each key is compared and stored atomically against every other writer; the batch as a whole isn't.

        Raises: ValueError for a time that no row may have, or a `kept_s` that isn't positive.
        Cost: one round trip per chunk of keys.
        """
        ...

    async def apply_events(
        self,
        keys: Sequence[bytes],
        events: EventBlock,
        form: RingForm,
        now_us: int,
        kept_s: float,
        deadline: Deadline = NEVER,
    ) -> NDArray[np.uint8]:
        """Bring each event into the row of tiles under its key; return an EventOutcome per event, (n,) uint8.

        What that means for a row is in windows/applying.py. The same block again changes nothing, whatever
        part of it was applied before. A row is changed with all of its events of the call, atomically; the
        call as a whole isn't. A row that isn't changed for `kept_s` is gone as if by delete_many. `now_us` is
        the caller's clock: the rows' write time, and where the future begins.

        Raises: ValueError too, where the block lacks a field of the form.
        Cost: one round trip per chunk of rows.
        """
        ...

    async def aclose(self) -> None:
        """Release what the store holds; calls under way fail with Unavailable. A second call does nothing."""
        ...
