"""An online store whose rows may be kept in this process: near_cache.py holds them, this file reads what it
lacks, once for all who ask, and forgets what is written through it. view_rows.py says which keys may be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from itertools import islice, repeat
from math import inf
from typing import Any, Final

import numpy as np
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, Unavailable
from numpy.typing import NDArray

from feature_store.near_cache import MISS, NearCache, NearCacheStats
from feature_store.store import UNREAD, OnlineStore
from feature_store.windows.events import EventBlock
from feature_store.windows.ring_row import RingForm
from runtime.clock import Clock
from runtime.engine_settings import FeatureStoreSettings

logger = logging.getLogger(__name__)

Rows = list[bytes | None]

_REFRESH_S: Final = 1.0
"""How long a read may take that nobody waits for."""
_REFRESH_ROWS: Final = 1_000
_TICK_S: Final = 0.01


class _Flight:
    """A read under way, for whoever wants its keys. `rows` is None until it has succeeded.

    A key that is written meanwhile leaves `CachedStore._flights`: the row that the flight brings may be older
    than the write, so it is neither kept nor given to anybody who asked after the write.
    """

    __slots__ = ("ended", "failure", "is_over", "rows")

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] | None = None
        self.rows: Mapping[bytes, bytes | None] | None = None
        self.failure: Error | None = None
        self.is_over = False

    def end(self) -> None:
        self.is_over = True
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


class CachedStore:
    """An OnlineStore over another, which it takes over. `get_many` asks that one; `get_near` asks it only for
    rows that aren't at hand.

    A row that `get_near` gives was read at most so long ago as its caller allows. It isn't older than a write
    that this process has made and that had ended when it was asked for; writes of others show after that
    time. A failed read keeps nothing.
    """

    def __init__(self, store: OnlineStore, settings: FeatureStoreSettings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._near = NearCache(settings.near_cache_max_bytes, settings.near_cache_absent_s)
        self._enabled = settings.near_cache_max_bytes > 0
        self._flights: dict[bytes, _Flight] = {}
        self._wanted: dict[bytes, float] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def stats(self) -> NearCacheStats:
        """How the kept rows are used."""
        return self._near.stats

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> Rows:
        return await self._store.get_many(keys, deadline)

    async def get_near(
        self, parts: Sequence[tuple[Sequence[bytes], float]], deadline: Deadline = NEVER
    ) -> list[Rows]:
        """Return the rows of each part: its keys, and how many seconds ago their rows may have been read (0:
        they are read now).

        Raises: as `get_many`. Cost: where all rows are at hand one look-up each; else one round trip for all
        parts, shared with others that want the same rows.
        """
        found: list[Rows] = []
        if not self._closed and self._enabled:
            now_s = self._clock.monotonic_s()
            for keys, max_age_s in parts:
                rows = self._near.find(keys, now_s) if max_age_s > 0 else None
                if rows is None:
                    break
                self._refresh(self._near.take_due(keys))
                found.append(rows)
            else:
                return found
        return found + await self._get_rest(parts[len(found) :], deadline)

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        try:
            return await self._store.put_many(keys, rows, deadline)
        finally:
            self._drop(keys)

    async def load_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> None:
        try:
            await self._store.load_many(keys, rows, deadline)
        finally:
            self._drop(keys)

    async def delete_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> int:
        try:
            return await self._store.delete_many(keys, deadline)
        finally:
            self._drop(keys)

    async def bury_many(
        self, keys: Sequence[bytes], time_us: int, kept_s: float, deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        try:
            return await self._store.bury_many(keys, time_us, kept_s, deadline)
        finally:
            self._drop(keys)

    async def apply_events(
        self,
        keys: Sequence[bytes],
        events: EventBlock,
        form: RingForm,
        now_us: int,
        kept_s: float,
        deadline: Deadline = NEVER,
    ) -> NDArray[np.uint8]:
        try:
            return await self._store.apply_events(keys, events, form, now_us, kept_s, deadline)
        finally:
            self._drop(keys)

    async def aclose(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        await self._store.aclose()

    def _drop(self, keys: Sequence[bytes]) -> None:
        """Forget what is known of keys that may have been written, and what is being read of them."""
        self._near.drop(keys)
        if self._flights:
            for key in keys:
                self._flights.pop(key, None)

    async def _get_rest(
        self, parts: Sequence[tuple[Sequence[bytes], float]], deadline: Deadline
    ) -> list[Rows]:
        """Return the rows of parts of which the first isn't wholly at hand."""
        looked: list[list[Any] | None] = [None] * len(parts)
        lacking: dict[bytes, float] = {}
        now: list[bytes] = []
        now_s = self._clock.monotonic_s()
        for place, (keys, max_age_s) in enumerate(parts):
            if max_age_s > 0 and self._enabled:
                rows = looked[place] = self._near.look(keys, now_s)
                lacking.update((key, max_age_s) for key, row in zip(keys, rows, strict=True) if row is MISS)
                self._refresh(self._near.take_due(keys))
            else:
                now += keys
        shared, rows_now = await self._fetch(lacking, now, deadline)
        found: list[Rows] = []
        start = 0
        for (keys, _), rows_at_hand in zip(parts, looked, strict=True):
            if rows_at_hand is None:
                found.append(rows_now[start : start + len(keys)])
                start += len(keys)
            else:
                pairs = zip(keys, rows_at_hand, strict=True)
                found.append([shared[key] if row is MISS else row for key, row in pairs])
        return found

    async def _fetch(
        self, lacking: Mapping[bytes, float], now: Sequence[bytes], deadline: Deadline
    ) -> tuple[dict[bytes, bytes | None], Rows]:
        """Return the rows of `lacking`, with the help of whoever reads them already, and those of `now`."""
        flights = self._flights
        joined = {key: flights[key] for key in lacking if key in flights}
        own = {key: age_s for key, age_s in lacking.items() if key not in joined} if joined else lacking
        rows = await self._lead(own, now, deadline) if own or now else []
        shared = dict(zip(own, rows, strict=False))
        if joined:
            self._near.stats.joined += len(joined)
            shared |= await self._join(joined, deadline)
        return shared, rows[len(own) :]

    async def _lead(self, own: Mapping[bytes, float], now: Sequence[bytes], deadline: Deadline) -> Rows:
        """Read keys for everybody who wants them meanwhile, and keep their rows; and keys for the caller
        alone. Who is cancelled, or too late, lets go of the others: they read for themselves."""
        flight = _Flight()
        self._flights.update(zip(own, repeat(flight)))
        read_s = self._clock.monotonic_s()
        try:
            rows = await self._store.get_many([*own, *now], deadline)
            flight.rows = dict(zip(own, rows, strict=False))
            self._keep(flight, own, read_s)
        except Error as error:
            flight.failure = None if isinstance(error, DeadlineExceeded) else error
            raise
        finally:
            for key in own:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.end()
        return rows

    async def _join(self, joined: Mapping[bytes, _Flight], deadline: Deadline) -> dict[bytes, bytes | None]:
        """Return rows that others read. Raises: DeadlineExceeded; Unavailable, as they were told."""
        for flight in dict.fromkeys(joined.values()):
            await self._ended(flight, deadline)
        rows: dict[bytes, bytes | None] = {}
        left: list[bytes] = []
        for key, flight in joined.items():
            if flight.rows is not None:
                rows[key] = flight.rows[key]
            elif flight.failure is not None:
                raise Unavailable(flight.failure.message)
            else:
                left.append(key)
        if left:
            rows.update(zip(left, await self._store.get_many(left, deadline), strict=True))
        return rows

    async def _ended(self, flight: _Flight, deadline: Deadline) -> None:
        if flight.is_over:
            return
        if flight.ended is None:
            flight.ended = asyncio.get_running_loop().create_future()
        remaining_s = deadline.remaining_s(self._clock.monotonic_s())
        await asyncio.wait([flight.ended], timeout=None if deadline == NEVER else max(0.0, remaining_s))
        if not flight.is_over:
            raise DeadlineExceeded("the read that was joined didn't end before the deadline")

    def _keep(self, flight: _Flight, ages: Mapping[bytes, float], read_s: float) -> None:
        """Keep what a flight has brought, but for what was written meanwhile or couldn't be read."""
        kept: dict[float, list[bytes]] = {}
        flights, rows = self._flights, flight.rows or {}
        for key, age_s in ages.items():
            if flights.get(key) is flight and rows[key] is not UNREAD:
                kept.setdefault(age_s, []).append(key)
        for age_s, keys in kept.items():
            self._near.keep(keys, list(map(rows.__getitem__, keys)), read_s, age_s)
        if self._timer is None and kept and not self._closed:
            self._arm()

    def _arm(self) -> None:
        """See to it that old rows go although nobody asks: all at once would take a while."""
        wait_s = max(_TICK_S, self._near.next_s - self._clock.monotonic_s())
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._near.age(self._clock.monotonic_s())
        if self._near.next_s < inf:
            self._arm()

    def _refresh(self, due: Mapping[bytes, float]) -> None:
        """Read these again while they may still be given out; one read at a time."""
        if not due:
            return
        self._wanted.update(due)
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_wanted(), name="refresh near rows")

    async def _refresh_wanted(self) -> None:
        while self._wanted:
            taken = dict(islice(self._wanted.items(), _REFRESH_ROWS))
            for key in taken:
                del self._wanted[key]
            own = {key: age_s for key, age_s in taken.items() if key not in self._flights}
            try:
                await self._lead(own, (), Deadline.after(_REFRESH_S, self._clock.monotonic_s()))
                self._near.stats.refreshed += len(own)
            except Error as error:
                logger.debug("rows can't be read ahead of their time: %s", error.message)
