"""The reference store: a dictionary. Tests and the conformance suite measure the others against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Unavailable
from numpy.typing import NDArray

from feature_store.row_header import HEADER_BYTES, is_storable, is_tombstone, pack_tombstone, row_times
from feature_store.types import Outcome
from feature_store.windows.applying import Event, apply_to_row
from feature_store.windows.events import EventBlock
from feature_store.windows.ring_row import RingForm, is_ring
from feature_store.windows.row_events import row_events, script_arguments
from runtime.clock import Clock, SystemClock


class MemoryStore:
    """An OnlineStore in this process; its rows go with it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._rows: dict[bytes, bytes] = {}
        self._gone_at_s: dict[bytes, float] = {}
        self._closed = False

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        if keys:
            self._check(deadline)
        self._expire()
        return list(map(self._rows.get, keys))

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        pairs = list(zip(keys, rows, strict=True))
        if pairs:
            self._check(deadline)
        self._expire()
        return np.array([self._put(key, row) for key, row in pairs], np.uint8)

    async def load_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> None:
        pairs = dict(zip(keys, rows, strict=True))
        if pairs:
            self._check(deadline)
        self._rows.update(pairs)
        for key in pairs:
            self._gone_at_s.pop(key, None)

    async def delete_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> int:
        if keys:
            self._check(deadline)
        self._expire()
        for key in keys:
            self._gone_at_s.pop(key, None)
        return sum(self._rows.pop(key, None) is not None for key in keys)

    async def bury_many(
        self, keys: Sequence[bytes], time_us: int, kept_s: float, deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        tombstone = pack_tombstone(time_us)
        if not kept_s > 0:
            raise ValueError("a tombstone is kept for some time")
        if keys:
            self._check(deadline)
        self._expire()
        return np.array([self._bury(key, tombstone, kept_s) for key in keys], np.uint8)

    async def apply_events(
        self,
        keys: Sequence[bytes],
        events: EventBlock,
        form: RingForm,
        now_us: int,
        kept_s: float,
        deadline: Deadline = NEVER,
    ) -> NDArray[np.uint8]:
        script_arguments(form, events, now_us, kept_s)
        rows = row_events(form, keys, events)
        if rows.keys:
            self._check(deadline)
        self._expire()
        outcomes = np.empty(len(events), np.uint8)
        for place, key in enumerate(rows.keys):
            own = rows.order[rows.starts[place] : rows.starts[place + 1]]
            parts = [
                Event(position, time_us, tuple(values.tolist()))
                for position, time_us, values in rows.records(form, place).tolist()
            ]
            row, outcomes[own] = apply_to_row(form, self._rows.get(key), events.source.packed, parts, now_us)
            if row is not None:
                self._rows[key] = row
                self._gone_at_s[key] = self._clock.monotonic_s() + kept_s
        return outcomes

    async def aclose(self) -> None:
        self._closed = True
        self._rows.clear()
        self._gone_at_s.clear()

    def _put(self, key: bytes, row: bytes) -> Outcome:
        if not is_storable(row):
            return Outcome.INVALID
        stored = self._rows.get(key, b"")
        if len(stored) >= HEADER_BYTES and row_times(stored) > row_times(row):
            return Outcome.OLDER
        self._rows[key] = row
        self._gone_at_s.pop(key, None)
        return Outcome.APPLIED

    def _bury(self, key: bytes, tombstone: bytes, kept_s: float) -> Outcome:
        stored = self._rows.get(key, b"")
        if len(stored) >= HEADER_BYTES and not is_ring(stored):
            theirs, ours = row_times(stored), row_times(tombstone)
            if theirs > ours and theirs[1] > ours[1]:
                return Outcome.APPLIED if is_tombstone(stored) else Outcome.OLDER
        self._rows[key] = tombstone
        self._gone_at_s[key] = self._clock.monotonic_s() + kept_s
        return Outcome.APPLIED

    def _expire(self) -> None:
        if self._gone_at_s:
            now_s = self._clock.monotonic_s()
            for key in [key for key, at_s in self._gone_at_s.items() if at_s <= now_s]:
                del self._rows[key], self._gone_at_s[key]

    def _check(self, deadline: Deadline) -> None:
        if self._closed:
            raise Unavailable("the online store is closed")
        if deadline.expired(self._clock.monotonic_s()):
            raise DeadlineExceeded("the deadline passed before the online store was asked")
