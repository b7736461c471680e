"""The answers that are kept, within a bound of bytes: how long each may be given, which gives way first, and
which fall when a row is written. Pure: it reads no clock and waits for nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from gateway.kept_answer import KeptAnswer
from gateway.recall.stats import RecallStats

ENTRY_BYTES = 640
"""What an entry takes beside its answer's bytes: its key, its objects, its place in the tables. Measured."""

ROW_BYTES = 360
"""What it takes to find an entry by one row that it was made from. Measured, for rows of one entry only."""

RAW_BYTES = 140
"""What it takes, beside its bytes, to find an entry by a request as it came in. Measured."""

MAX_RAWS = 8
"""Requests as they came in that an entry is found by: usually there is one, or one per client library."""

MAX_RAW_BYTES = 4096
"""Longer requests are not kept: to parse one that comes again costs little beside to send it."""

Rows = Mapping[str, Sequence[str]]
"""Key texts by view."""


class Freshness(Enum):
    """Whether an entry may be given to a request."""

    FRESH = 1
    STALE = 2
    """It may, and is due to be made again."""
    SPENT = 3


@dataclass(slots=True, eq=False)
class Entry:
    """A kept answer. Units: seconds of the monotonic clock: a step of the wall clock renews nothing."""

    key: bytes
    pipeline: str
    kept: KeptAnswer
    made_s: float
    fresh_until_s: float
    stale_until_s: float
    retained_until_s: float
    """How long it may stand in where no other answer can be made."""
    rows: Rows = field(default_factory=dict)
    """The rows whose writing ends it."""
    refresh_from_s: float = 0.0
    """No refresh is tried before: the one before it brought nothing to keep."""
    raws: list[bytes] = field(default_factory=list)
    """Requests, as they came in, that it answers."""

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        size_bytes = ENTRY_BYTES + len(self.kept.body)
        if self.rows:
            size_bytes += ROW_BYTES * sum([len(texts) for texts in self.rows.values()])
        return size_bytes + sum([RAW_BYTES + len(raw) for raw in self.raws])

    def freshness(self, release: int, now_s: float, now_us: int) -> Freshness:
        """Return whether the entry may be given to a request that is pinned to `release`.

        An answer of another release may not, nor one with a row that has outlived its view's `max_age` since:
        made now, it would report that row as STALE.
        """
        if self.kept.release != release or now_us > self.kept.stale_at_us:
            return Freshness.SPENT
        if now_s < self.fresh_until_s:
            return Freshness.FRESH
        return Freshness.STALE if now_s < self.stale_until_s else Freshness.SPENT


class Entries:
    """Kept answers by key. The least recently used give way; one that is larger than `max_entry_bytes` is not
    kept, so that it doesn't drive out hundreds.

    Cost: a look-up is one of a hash table; an entry that names rows has one more place for each of them.
    """

    def __init__(self, max_bytes: int, max_entry_bytes: int, stats: RecallStats) -> None:
        self._max_bytes = max_bytes
        self._max_entry_bytes = min(max_bytes, max_entry_bytes)
        self._stats = stats
        self._by_key: OrderedDict[bytes, Entry] = OrderedDict()
        self._by_raw: dict[bytes, Entry] = {}
        self._by_row: dict[str, dict[str, set[bytes]]] = {}

    def get(self, key: bytes) -> Entry | None:
        """Return what is kept under a key, whatever its age; it is now the most recently used."""
        entry = self._by_key.get(key)
        if entry is not None:
            self._by_key.move_to_end(key)
        return entry

    def named(self, raw: bytes) -> Entry | None:
        """Return what answers a request as it came in, as `get`. Only entries of the request's release count:
        in another one the same bytes may mean something else."""
        entry = self._by_raw.get(raw)
        if entry is not None:
            self._by_key.move_to_end(entry.key)
        return entry

    def name(self, entry: Entry, raw: bytes) -> None:
        """Let an entry that is kept be found by a request as it came in."""
        named = self._by_raw.get(raw)
        if named is entry or not 0 < len(raw) <= MAX_RAW_BYTES:
            return
        if named is not None:
            self._unname(named, raw)
        if len(entry.raws) == MAX_RAWS:
            self._unname(entry, entry.raws[0])
        entry.raws.append(raw)
        self._by_raw[raw] = entry
        self._stats.bytes += RAW_BYTES + len(raw)
        self._make_room()

    def put(self, entry: Entry) -> bool:
        """Keep an answer in place of the one under its key, and let others go until it fits; return whether
        it is kept."""
        before = self._remove(entry.key)
        if before is not None and before.kept.release == entry.kept.release:
            entry.raws = before.raws
        if entry.size_bytes > self._max_entry_bytes:
            self._stats.too_large += 1
            return False
        self._by_key[entry.key] = entry
        for raw in entry.raws:
            self._by_raw[raw] = entry
        for view, text in _named(entry.rows):
            self._by_row.setdefault(view, {}).setdefault(text, set()).add(entry.key)
        self._stats.stored += 1
        self._stats.entries += 1
        self._stats.bytes += entry.size_bytes
        self._make_room()
        return True

    def drop_rows(self, view: str, texts: Iterable[str]) -> None:
        """Let go of every answer that was made from one of these rows. Cost: one look-up per row."""
        by_text = self._by_row.get(view)
        if by_text is None:
            return
        for key in {key for text in texts for key in by_text.get(text, ())}:
            self._remove(key)
            self._stats.invalidated += 1

    def clear(self) -> None:
        """Let go of everything."""
        self._by_key.clear()
        self._by_raw.clear()
        self._by_row.clear()
        self._stats.entries = self._stats.bytes = 0

    def _make_room(self) -> None:
        while self._stats.bytes > self._max_bytes:
            self._remove(next(iter(self._by_key)))
            self._stats.evicted += 1

    def _unname(self, entry: Entry, raw: bytes) -> None:
        entry.raws.remove(raw)
        del self._by_raw[raw]
        self._stats.bytes -= RAW_BYTES + len(raw)

    def _remove(self, key: bytes) -> Entry | None:
        entry = self._by_key.pop(key, None)
        if entry is None:
            return None
        self._stats.entries -= 1
        self._stats.bytes -= entry.size_bytes
        for raw in entry.raws:
            del self._by_raw[raw]
        for view, text in _named(entry.rows):
            by_text = self._by_row[view]
            keys = by_text[text]
            keys.remove(key)
            if not keys:
                del by_text[text]
                if not by_text:
                    del self._by_row[view]
        return entry


def _named(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield every row once: a candidate may be named twice."""
    return ((view, text) for view, texts in rows.items() for text in set(texts))
