"""The reference store: a dictionary. Tests and the conformance suite measure the others against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Unavailable
from numpy.typing import NDArray

from feature_store.row_header import HEADER_BYTES, is_storable, row_times
from feature_store.types import Outcome
from runtime.clock import Clock, SystemClock


class MemoryStore:
    """An OnlineStore in this process; its rows go with it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._rows: dict[bytes, bytes] = {}
        self._closed = False

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        if keys:
            self._check(deadline)
        return list(map(self._rows.get, keys))

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        pairs = list(zip(keys, rows, strict=True))
        if pairs:
            self._check(deadline)
        return np.array([self._put(key, row) for key, row in pairs], np.uint8)

    async def load_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> None:
        pairs = dict(zip(keys, rows, strict=True))
        if pairs:
            self._check(deadline)
        self._rows.update(pairs)

    async def delete_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> int:
        if keys:
            self._check(deadline)
        return sum(self._rows.pop(key, None) is not None for key in keys)

    async def aclose(self) -> None:
        self._closed = True
        self._rows.clear()

    def _put(self, key: bytes, row: bytes) -> Outcome:
        if not is_storable(row):
            return Outcome.INVALID
        stored = self._rows.get(key, b"")
        if len(stored) >= HEADER_BYTES and row_times(stored) > row_times(row):
            return Outcome.OLDER
        self._rows[key] = row
        return Outcome.APPLIED

    def _check(self, deadline: Deadline) -> None:
        if self._closed:
            raise Unavailable("the online store is closed")
        if deadline.expired(self._clock.monotonic_s()):
            raise DeadlineExceeded("the deadline passed before the online store was asked")
