"""Who waits and what runs: the whole state of a batcher, without tasks or timers. Pure: time comes in as an
argument, so that it is simulated on a manual clock."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from forebay.errors import DeadlineExceeded, Overloaded

from runtime.batcher.entry import Criticality, Entry
from runtime.batcher.expectation import Expectation
from runtime.batcher.limits import BatchLimits
from runtime.batcher.policy import DUE, Choice, choose, drain_s, fit
from runtime.duration_model import UNKNOWN, Cost

E = TypeVar("E", bound=Entry)

_SHORTEST_RETRY_S = 0.001
_STALE_COUNT = 64
_STALLED_AFTER_S = 0.002
"""Beyond twice the expected duration: what a busy machine adds to a short batch now and then."""
_UNKNOWN_STALLED_AFTER_S = 0.05
"""Where nothing is known of durations yet."""


@dataclass(slots=True, eq=False)
class RunningBatch(Generic[E]):
    """A batch that runs. `ends_s` is when it is expected to end; `discount_s` of what it takes says nothing
    about the next."""

    members: list[E]
    rows: int
    started_s: float
    ends_s: float
    discount_s: float = 0.0

    @property
    def stalled_s(self) -> float:
        """Return from when on it counts as waiting for something."""
        expected_s = self.ends_s - self.started_s
        return self.ends_s + (expected_s + _STALLED_AFTER_S if expected_s else _UNKNOWN_STALLED_AFTER_S)


class Schedule(Generic[E]):
    """The queue and the running batches of one batcher.

    Cost: per submission a search among those who wait, at the most; linear in them per batch.
    """

    def __init__(self, limits: BatchLimits, max_running: int) -> None:
        self._limits = limits
        self._max_running = max_running
        self._expectation = Expectation(limits.probe_s)
        self._waiting: list[list[E]] = [[] for _ in Criticality]
        self._waiting_rows = 0
        self.waiting_count = 0
        self.running: list[RunningBatch[E]] = []

    def submit(self, entry: E, now_s: float) -> E | None:
        """Take an entry in; return the less critical one that it displaced, if the queue was full.

        Raises: Overloaded, with the expected wait as `retry_after_s`; DeadlineExceeded, where it can't be
            in time though its turn has come.
        """
        count = self.waiting_count  # some may have been cancelled, and not withdrawn yet
        if len(self.running) >= self._max_running or count >= self._limits.members:
            self._check_wait(entry, now_s)
        else:
            self._check_time(entry, now_s)
        displaced = self._displace(entry, now_s) if count >= self._limits.waiting else None
        entries = self._waiting[entry.criticality]
        if not entries or entry.due_s >= entries[-1].due_s:
            entries.append(entry)
        else:
            insort(entries, entry, key=DUE)
        entry.waiting = True
        self.waiting_count += 1
        self._waiting_rows += entry.rows
        return displaced

    def withdraw(self, entry: E) -> None:
        """Let an entry go that nobody waits for any more. Cost: constant, on the average."""
        if entry.waiting:
            self._leave(entry)
            entries = self._waiting[entry.criticality]
            if len(entries) > self.waiting_count + _STALE_COUNT:
                entries[:] = [entry for entry in entries if entry.waiting]

    def start(self, now_s: float) -> tuple[RunningBatch[E] | None, list[E]]:
        """Begin the next batch, if anything waits; return it, and those that are too late for any."""
        together = [entry for entries in self._waiting for entry in entries if not entry.gone()]
        if fit(together, now_s, self._expectation.cost(now_s), self._limits):
            self._empty()
            return self._begin(together, now_s), []
        late: list[E] = []
        while self.waiting_count:
            choice = self._choose(now_s)
            late += choice.late
            if choice.run:
                batch = self._begin(choice.run, now_s)
                if choice.late or len(choice.run) < self._limits.members:
                    self._expectation.hold_back()
                return batch, late
            if not choice.late:
                break  # all that is left has been cancelled, and is about to withdraw
        return None, late

    def finish(self, batch: RunningBatch[E], now_s: float, *, ran: bool) -> None:
        """End a batch. `ran`: it did its work for somebody; of one that didn't, only that it took long says
        something: batches that fail at once would pass for fast ones, and let in more than can be served."""
        self.running.remove(batch)
        if ran or now_s >= batch.ends_s:
            self._expectation.end(batch.rows, now_s - batch.started_s - batch.discount_s, now_s)

    def expire(self, now_s: float) -> list[E]:
        """Let those go whose deadline has passed while they wait; return them."""
        everybody = [entry for entries in self._waiting for entry in entries if entry.waiting]
        expired = [entry for entry in everybody if entry.deadline_s <= now_s]
        for entry in expired:
            self._leave(entry)
        for entries in self._waiting:
            entries[:] = [entry for entry in entries if entry.waiting]
        return expired

    def clear(self) -> list[E]:
        """Let everybody who waits go; return them."""
        left = [entry for entries in self._waiting for entry in entries if entry.waiting]
        self._empty()
        return left

    def next_deadline_s(self) -> float:
        """Return the earliest deadline of all who wait or run. Cost: linear."""
        groups = [*self._waiting, *[batch.members for batch in self.running]]
        return min([entry.deadline_s for group in groups for entry in group if not entry.gone()], default=inf)

    def stalled_s(self) -> float:
        """Return from when on one more batch may run because all that run are stalled; inf for never."""
        if len(self.running) >= self._max_running + self._limits.beside_stalled:
            return inf
        return max([batch.stalled_s for batch in self.running], default=inf)

    def expected_wait_s(self, entry: Entry, now_s: float) -> float:
        """Return how long a new entry would wait. Cost: a search."""
        cost = self._expectation.cost(now_s)
        end_s = self._free_s(now_s) + self._drain_s(self._ahead_of(entry), entry, cost)
        return max(0.0, end_s - cost.of(entry.rows))

    def _check_wait(self, entry: E, now_s: float) -> None:
        """Refuse an entry whose turn would come too late; a first look counts everybody as before it."""
        cost, free_s = self._expectation.cost(now_s), self._free_s(now_s)
        for ahead in (self.waiting_count, self._ahead_of(entry)):
            end_s = free_s + self._drain_s(ahead, entry, cost)
            wait_s = max(0.0, end_s - cost.of(entry.rows))
            in_time = now_s + free_s + (end_s - free_s) * self._limits.caution_ratio < entry.deadline_s
            if in_time and wait_s <= self._limits.wait_s:
                return
        self._expectation.hold_back()
        raise _overloaded(f"the queue is {wait_s * 1000:.1f} ms long", wait_s)

    def _check_time(self, entry: E, now_s: float) -> None:
        """Refuse an entry that would start at once and be late: in overload these are many, and each would
        cost a batch that runs for nobody."""
        caution_ratio, left_s = self._limits.caution_ratio, entry.deadline_s - now_s
        longest = self._expectation.longest
        if (longest.fixed_s + longest.row_s * entry.rows) * caution_ratio < left_s:
            return  # as good as everybody
        if self._expectation.cost(now_s).of(entry.rows) * caution_ratio < left_s:
            return
        if not self._expectation.may_try(now_s):
            self._expectation.hold_back()
            raise DeadlineExceeded("too little time was left when it came", reason="NO_TIME")

    def _free_s(self, now_s: float) -> float:
        """Return how long it takes until one more batch may run."""
        if len(self.running) < self._max_running:
            return 0.0
        return max(0.0, self.running[0].ends_s - now_s)

    def _ahead_of(self, entry: Entry) -> int:
        """Return about how many go before a new entry."""
        ahead = bisect_right(self._waiting[entry.criticality], entry.due_s, key=DUE)
        for entries in self._waiting[: entry.criticality]:
            ahead += len(entries)
        return min(ahead, self.waiting_count)

    def _drain_s(self, ahead: int, entry: Entry, cost: Cost) -> float:
        """Return how long it takes to serve an entry and those ahead of it, of average rows."""
        rows = self._waiting_rows * ahead // self.waiting_count if ahead else 0
        return drain_s(ahead + 1, rows + entry.rows, cost, self._limits) / self._max_running

    def _displace(self, entry: E, now_s: float) -> E:
        """Make room in a full queue at the cost of the least critical, the latest come of them."""
        for criticality in range(len(Criticality) - 1, entry.criticality, -1):
            entries = self._waiting[criticality]
            while entries:
                other = entries.pop()
                if other.waiting:
                    self._leave(other)
                    return other
        limit = self._limits.waiting
        raise _overloaded(f"{limit} requests wait already", self.expected_wait_s(entry, now_s))

    def _choose(self, now_s: float) -> Choice[E]:
        choice = choose(now_s, self._waiting, self._expectation.cost(now_s), self._limits)
        if not choice.run and self._expectation.may_try(now_s):
            choice = choose(now_s, self._waiting, UNKNOWN, self._limits)
        for entry in choice.run:
            self._leave(entry)
        for entry in choice.late:
            self._leave(entry)
        self._waiting = choice.left
        return choice

    def _begin(self, members: list[E], now_s: float) -> RunningBatch[E]:
        rows = sum([entry.rows for entry in members])
        batch = RunningBatch(members, rows, now_s, now_s + self._expectation.begin(rows, now_s))
        self.running.append(batch)
        return batch

    def _empty(self) -> None:
        for entries in self._waiting:
            for entry in entries:
                entry.waiting = False
            entries.clear()
        self.waiting_count = self._waiting_rows = 0

    def _leave(self, entry: E) -> None:
        entry.waiting = False
        self.waiting_count -= 1
        self._waiting_rows -= entry.rows


def _overloaded(why: str, wait_s: float) -> Overloaded:
    return Overloaded(f"too many requests: {why}", retry_after_s=max(wait_s, _SHORTEST_RETRY_S))
