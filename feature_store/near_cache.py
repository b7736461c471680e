"""Rows kept in this process: a table of row bytes by key, bounded in bytes and in age. It knows no store;
cached_store.py fills it, and drops what is written.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import compress, count, repeat
from math import inf
from operator import not_
from typing import Any, Final

MISS: Final[Any] = object()
"""Stands where nothing is known of a key; None says that the store has no row there."""

_ENTRY_BYTES = 192
"""What an entry takes beside its key and row: their objects' heads, a place in the table and in a sheaf."""
_SHEAF_ROWS = 512
"""Rows that go together: so many are removed at once, which takes some 0.1 ms."""
_SHEAF_SHARE = 1 / 32
"""For which part of their greatest age rows are gathered into one sheaf."""
_SPREAD_SHARE = 1 / 8
"""By up to which part of their greatest age sheaves go early, at random: rows that came together, as after a
start, don't all go in the same millisecond."""
_AHEAD_SHARE = 1 / 4
"""For which last part of its time a row that is asked for is read again."""
_SAMPLED = 8
"""Of so many reads one notes which rows are in use. Rows that are asked for often are noted soon."""


@dataclass(slots=True, eq=False)
class _Sheaf:
    """Rows that were read at about the same time and go together. A row that was replaced or dropped since is
    still listed, and its bytes still count; it is known by its identity."""

    read_s: float
    view_age_s: float
    goes_s: float
    ahead_s: float
    keys: list[bytes] = field(default_factory=list)
    rows: list[bytes | None] = field(default_factory=list)
    size: int = 0
    is_gone: bool = False

    def add(self, keys: Sequence[bytes], rows: Sequence[bytes | None]) -> int:
        """Take rows; return how many bytes they are."""
        size = _ENTRY_BYTES * len(keys) + sum(map(len, keys)) + sum(len(row) for row in rows if row)
        self.keys += keys
        self.rows += rows
        self.size += size
        return size


@dataclass(slots=True)
class NearCacheStats:
    """How the cache was used since the start; `entries` and `bytes` are what it holds now.

    `hits` and `misses` count rows; `joined`, misses that waited for somebody else's read; `refreshed`, rows
    that were read again before their time; `evicted`, rows that gave way to others; `dropped`, rows that were
    written or deleted here.
    """

    hits: int = 0
    misses: int = 0
    joined: int = 0
    refreshed: int = 0
    evicted: int = 0
    dropped: int = 0
    entries: int = 0
    bytes: int = 0


class NearCache:
    """Row bytes by key. A hit costs one look-up in a table: ages are kept per sheaf of rows, never per row.

    What is given out is never older than its greatest age: `find` removes what is by then. Over `max_bytes`
    the oldest sheaf goes, but for the rows that are in use. That the store has no row for a key is held for
    `absent_s` at the most.
    """

    def __init__(self, max_bytes: int, absent_s: float) -> None:
        self.stats = NearCacheStats()
        self.next_s = inf
        """When something is to be removed, or is nearly too old: `age` must be called by then, or `find`."""
        self._max_bytes = max_bytes
        self._absent_s = absent_s
        self._rows: dict[bytes, bytes | None] = {}
        self._open: dict[tuple[float, float], _Sheaf] = {}
        self._oldest: dict[int, _Sheaf] = {}
        self._events: list[tuple[float, int, _Sheaf]] = []
        self._numbers = count()
        self._due: dict[bytes, float] = {}
        self._used: set[bytes] = set()
        self._reads = 0

    def find(self, keys: Sequence[bytes], now_s: float) -> list[bytes | None] | None:
        """Return the row of each key, None where there is none, if all are known; else None."""
        if now_s >= self.next_s:
            self.age(now_s)
        try:
            found = list(map(self._rows.__getitem__, keys))
        except KeyError:
            return None
        self.stats.hits += len(found)
        self._reads += 1
        if self._reads % _SAMPLED == 0:
            self._note(keys)
        return found

    def look(self, keys: Sequence[bytes], now_s: float) -> list[Any]:
        """Return the row of each key, MISS where it isn't known."""
        if now_s >= self.next_s:
            self.age(now_s)
        found = list(map(self._rows.get, keys, repeat(MISS)))
        known = [key for key, row in zip(keys, found, strict=True) if row is not MISS]
        self.stats.hits += len(known)
        self.stats.misses += len(keys) - len(known)
        self._reads += 1
        if self._reads % _SAMPLED == 0:
            self._note(known)
        return found

    def keep(
        self, keys: Sequence[bytes], rows: Sequence[bytes | None], read_s: float, max_age_s: float
    ) -> None:
        """Hold these rows until they are `max_age_s` old; the read that gave them began at `read_s`."""
        if None in rows:
            absent = [key for key, row in zip(keys, rows, strict=True) if row is None]
            pairs = [(key, row) for key, row in zip(keys, rows, strict=True) if row is not None]
            age_s = min(self._absent_s, max_age_s)
            self._add(absent, [None] * len(absent), read_s, age_s, max_age_s)
            keys, rows = [key for key, _ in pairs], [row for _, row in pairs]
        self._add(keys, rows, read_s, max_age_s, max_age_s)
        while self.stats.bytes > self._max_bytes and self._oldest:
            self._evict()
        self.stats.entries = len(self._rows)

    def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these keys."""
        if not self._rows:
            return
        before = len(self._rows)
        for key in keys:
            self._rows.pop(key, None)
            self._due.pop(key, None)
            self._used.discard(key)
        self.stats.entries = len(self._rows)
        self.stats.dropped += before - len(self._rows)

    def take_due(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """Return those of `keys` whose time is nearly over, each once, with their view's greatest age."""
        due = self._due
        if not due or due.keys().isdisjoint(keys):
            return {}
        return {key: due.pop(key) for key in dict.fromkeys(keys) if key in due}

    def age(self, now_s: float) -> None:
        """Remove what is too old, and note what nearly is."""
        while self._events and self._events[0][0] <= now_s:
            _, _, sheaf = heappop(self._events)
            if sheaf.is_gone:
                continue
            if now_s >= sheaf.goes_s:
                keys, _ = self._end(sheaf)
                self._forget(keys)
            else:
                self._due.update(zip(self._held(sheaf)[0], repeat(sheaf.view_age_s)))
                self._at(sheaf.goes_s, sheaf)
        self.next_s = self._events[0][0] if self._events else inf
        self.stats.entries = len(self._rows)

    def _add(
        self,
        keys: Sequence[bytes],
        rows: Sequence[bytes | None],
        read_s: float,
        age_s: float,
        view_age_s: float,
    ) -> None:
        self._rows.update(zip(keys, rows, strict=True))
        for start in range(0, len(keys), _SHEAF_ROWS):
            span = slice(start, start + _SHEAF_ROWS)
            self.stats.bytes += self._sheaf(read_s, age_s, view_age_s).add(keys[span], rows[span])

    def _sheaf(self, read_s: float, age_s: float, view_age_s: float) -> _Sheaf:
        """Return a sheaf for rows of this age, none of which was read before its `read_s`."""
        sheaf = self._open.get((age_s, view_age_s))
        is_open = sheaf is not None and not sheaf.is_gone and len(sheaf.keys) < _SHEAF_ROWS
        if sheaf is not None and is_open and 0 <= read_s - sheaf.read_s <= age_s * _SHEAF_SHARE:
            return sheaf
        goes_s = read_s + age_s * random.uniform(1 - _SPREAD_SHARE, 1)
        sheaf = _Sheaf(read_s, view_age_s, goes_s, goes_s - age_s * _AHEAD_SHARE)
        self._open[age_s, view_age_s] = sheaf
        self._oldest[id(sheaf)] = sheaf
        self._at(sheaf.ahead_s, sheaf)
        return sheaf

    def _at(self, when_s: float, sheaf: _Sheaf) -> None:
        heappush(self._events, (when_s, next(self._numbers), sheaf))
        self.next_s = self._events[0][0]

    def _note(self, keys: Sequence[bytes]) -> None:
        """Note that rows are in use, where some may have to give way."""
        if self.stats.bytes > self._max_bytes / 2:
            self._used.update(keys)

    def _held(self, sheaf: _Sheaf) -> tuple[list[bytes], list[bytes | None]]:
        """Return the keys and rows of a sheaf that are still the ones held."""
        held = self._rows
        pairs = [
            (key, row) for key, row in zip(sheaf.keys, sheaf.rows, strict=True) if held.get(key, MISS) is row
        ]
        return [key for key, _ in pairs], [row for _, row in pairs]

    def _evict(self) -> None:
        """Remove the oldest sheaf. Rows in use stay, as the newest, until their time is over; the next time
        they must have been used again."""
        sheaf = next(iter(self._oldest.values()))
        keys, rows = self._end(sheaf)
        used = [key in self._used for key in keys]
        self._used.difference_update(keys)
        if any(used):
            stay = _Sheaf(sheaf.read_s, sheaf.view_age_s, sheaf.goes_s, sheaf.ahead_s)
            self.stats.bytes += stay.add(list(compress(keys, used)), list(compress(rows, used)))
            self._oldest[id(stay)] = stay
            self._at(max(stay.ahead_s, sheaf.read_s), stay)
            keys = list(compress(keys, map(not_, used)))
        self.stats.evicted += len(keys)
        self._forget(keys)

    def _end(self, sheaf: _Sheaf) -> tuple[list[bytes], list[bytes | None]]:
        """Take a sheaf out, and return those of its rows that are still held."""
        held = self._held(sheaf)
        del self._oldest[id(sheaf)]
        self.stats.bytes -= sheaf.size
        sheaf.is_gone, sheaf.keys, sheaf.rows = True, [], []
        return held

    def _forget(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._rows.pop(key, None)
            self._due.pop(key, None)
        self._used.difference_update(keys)
