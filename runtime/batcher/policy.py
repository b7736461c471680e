"""Which of the waiting run next, and which are too late. Pure: time and costs come in as arguments."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from operator import attrgetter
from typing import Generic, TypeVar

from runtime.batcher.entry import Entry
from runtime.batcher.limits import BatchLimits
from runtime.duration_model import Cost

E = TypeVar("E", bound=Entry)

DUE = attrgetter("due_s")
_EASE_RATIO = 2.0
"""The others count as having time when they would have with so many times what serving them takes."""


@dataclass(slots=True)
class Choice(Generic[E]):
    """What to do now: `run` these as one batch, tell those who are `late`, let `left[criticality]` wait."""

    run: list[E] = field(default_factory=list)
    late: list[E] = field(default_factory=list)
    left: list[list[E]] = field(default_factory=list)


def choose(now_s: float, waiting: Sequence[list[E]], cost: Cost, limits: BatchLimits) -> Choice[E]:
    """Return the next batch out of `waiting`, one list per criticality, each in the order of `due_s`.

    The most critical come first, within a criticality the earliest due. The first that can be done in time
    gives the batch its key; others of that key join in order until a limit is reached. Entries that are
    gone leave; so do those that can't be done in time even alone. A less critical entry joins only while
    that makes nobody more critical late.

    Where a batch as large as the limits allow would make some of its own members late, there are two ways:

    - if everybody else has time, a smaller batch that is in time for them;
    - else those with the least time leave as late, as many as it takes to serve the most.

    Always taking the first way is ruinous in overload: those with the least time left would set the size,
    batches shrink to one or two members, and goodput falls to a tenth (simulated: 0.1 to 0.2 of capacity,
    against 0.85 to 1.0 by the second). Always taking the second gives up some who could be served.
    """
    draft: _Draft[E] = _Draft(now_s, cost, limits)
    for entries in waiting:
        draft.join(entries)
    return draft.choice


def longest_s(cost: Cost, limits: BatchLimits) -> float:
    """Return how long a batch may be expected to take: as the limits say, but where the fixed part takes most
    of that, small batches would be slower for everybody; so the rows may always take as long as it."""
    return max(limits.run_s, 2.0 * cost.fixed_s)


def fit(entries: list[E], now_s: float, cost: Cost, limits: BatchLimits) -> bool:
    """Return whether all of them make one batch that is in time: then `choose` would take them all."""
    if not 0 < len(entries) <= limits.members:
        return False
    if len(entries) == 1:
        return now_s + cost.of(entries[0].rows) * limits.caution_ratio < entries[0].deadline_s
    rows = sum([entry.rows for entry in entries])
    run_s = cost.of(rows)
    return (
        rows <= limits.rows
        and run_s <= longest_s(cost, limits)
        and now_s + run_s * limits.caution_ratio < min([entry.deadline_s for entry in entries])
        and len({entry.key for entry in entries}) == 1
    )


def drain_s(members: int, rows: int, cost: Cost, limits: BatchLimits) -> float:
    """Return how long it takes to serve `members` with `rows` in all, in batches as large as allowed."""
    fixed_s, row_s = cost.fixed_s, cost.row_s
    batches = max(members / limits.members, rows / limits.rows)
    if row_s > 0.0:
        batches = max(batches, row_s * rows / max(longest_s(cost, limits) - fixed_s, row_s))
    return fixed_s * ceil(batches) + row_s * rows


class _Draft(Generic[E]):
    """A batch in the making."""

    __slots__ = (
        "_bound_s",
        "_cautious",
        "_cost",
        "_key",
        "_limits",
        "_longest_s",
        "_now_s",
        "_rows",
        "choice",
    )

    def __init__(self, now_s: float, cost: Cost, limits: BatchLimits) -> None:
        self.choice: Choice[E] = Choice()
        self._now_s = now_s
        self._cost = cost
        self._cautious = Cost(cost.fixed_s * limits.caution_ratio, cost.row_s * limits.caution_ratio)
        self._limits = limits
        self._longest_s = longest_s(cost, limits)
        self._key: Hashable = None
        self._rows = 0
        self._bound_s = inf  # the earliest deadline among more critical members

    def join(self, entries: list[E]) -> None:
        """Let entries of one criticality join, in order."""
        passed: list[E] = []  # who waits on, though somebody behind may join
        joined, place = self._fill(entries, passed)
        if joined and self._end_s(joined) >= min([entry.deadline_s for entry in joined]):
            rest = self._waiting(entries, place, passed)
            count = self._in_time(joined)
            if self._have_time(joined[:count], joined[count:] + passed + rest):
                passed += joined[count:] + rest
                del joined[count:]
            else:
                joined = self._serve_most(joined + rest, passed)
            place = len(entries)
        self._take(joined)
        left = passed + entries[place:]
        if passed:
            left.sort(key=DUE)
        self.choice.left.append(left)

    def _fill(self, entries: list[E], passed: list[E]) -> tuple[list[E], int]:
        """Return who joins until a limit is reached, and the place of who doesn't any more."""
        joined: list[E] = []
        members, rows = len(self.choice.run), self._rows
        for place, entry in enumerate(entries):
            if entry.gone():
                continue
            if members == 0:
                if self._now_s + self._cautious.of(entry.rows) >= entry.deadline_s:
                    self.choice.late.append(entry)
                    continue
                self._key = entry.key
            elif entry.key != self._key:
                passed.append(entry)
                continue
            elif not self._has_room(members, rows + entry.rows):
                return joined, place
            members += 1
            rows += entry.rows
            joined.append(entry)
        return joined, len(entries)

    def _waiting(self, entries: list[E], place: int, passed: list[E]) -> list[E]:
        """Return who could join from `place` on; who has another key is added to `passed`."""
        rest: list[E] = []
        for entry in entries[place:]:
            if not entry.gone():
                (rest if entry.key == self._key else passed).append(entry)
        return rest

    def _has_room(self, members: int, rows: int) -> bool:
        limits = self._limits
        return (
            members < limits.members
            and rows <= limits.rows
            and self._cost.of(rows) <= self._longest_s
            and self._now_s + self._cautious.of(rows) < self._bound_s
        )

    def _end_s(self, joined: list[E]) -> float:
        """Return by when the batch has certainly ended if those join."""
        return self._now_s + self._cautious.of(self._rows + sum([entry.rows for entry in joined]))

    def _in_time(self, joined: list[E]) -> int:
        """Return how many of the first make a batch that is in time for all of its members."""
        rows, bound_s = self._rows, self._bound_s
        for count, entry in enumerate(joined):
            rows += entry.rows
            bound_s = min(bound_s, entry.deadline_s)
            if self._now_s + self._cautious.of(rows) >= bound_s:
                return count
        return len(joined)

    def _have_time(self, first: list[E], others: list[E]) -> bool:
        """Return whether the others can be served with ease after a batch with only `first` joining."""
        start_s, rows = self._end_s(first), 0
        for members, entry in enumerate(others, 1):
            rows += entry.rows
            end_s = start_s + _EASE_RATIO * drain_s(members, rows, self._cost, self._limits)
            if end_s >= entry.deadline_s and not entry.gone():
                return False
        return True

    def _serve_most(self, pool: list[E], passed: list[E]) -> list[E]:
        """Give up those with the least time, as few as it takes to serve the most; return who is served."""
        start, stop = self._longest_run(pool)
        passed += pool[stop:]
        end_s = self._end_s(pool[start:stop])
        self.choice.late += [entry for entry in pool[:stop] if entry.deadline_s <= end_s]
        passed += [entry for entry in pool[:start] if entry.deadline_s > end_s]
        return [entry for entry in pool[start:stop] if entry.deadline_s > end_s]

    def _longest_run(self, pool: list[E]) -> tuple[int, int]:
        """Return the longest run of neighbours that is in time for its first, the earliest of equals. Every
        start is tried; the stop only moves forward."""
        best, best_stop, stop, rows = 0, 0, 0, self._rows
        for start, first in enumerate(pool):
            stop = max(stop, start)
            while stop < len(pool):
                if not self._is_good(stop - start, rows + pool[stop].rows, first.deadline_s):
                    break
                rows += pool[stop].rows
                stop += 1
            if stop - start > best_stop - best:
                best, best_stop = start, stop
            if stop > start:
                rows -= first.rows
        return best, best_stop

    def _is_good(self, joined: int, rows: int, deadline_s: float) -> bool:
        """Return whether one more may join `joined` others, to make `rows` rows in all."""
        members = len(self.choice.run) + joined
        in_time = self._now_s + self._cautious.of(rows) < deadline_s
        return in_time and (members == 0 or self._has_room(members, rows))

    def _take(self, joined: list[E]) -> None:
        self.choice.run += joined
        self._rows += sum([entry.rows for entry in joined])
        self._bound_s = min([self._bound_s, *[entry.deadline_s for entry in joined]])
