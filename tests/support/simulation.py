"""Plays arrivals against a batcher's schedule on a manual clock: no tasks, no sleeping, the same each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from forebay.errors import DeadlineExceeded, Overloaded

from runtime.batcher import BatchLimits, Criticality
from runtime.batcher.entry import Entry
from runtime.batcher.schedule import RunningBatch, Schedule
from runtime.clock import ManualClock


@dataclass(slots=True, eq=False)
class Visit(Entry):
    """One submission and what became of it: done, overdue (it ran, too long), late, refused, displaced."""

    outcome: str = "waiting"
    started_s: float = math.nan
    ended_s: float = math.nan

    @property
    def waited_s(self) -> float:
        return self.started_s - self.submitted_s


@dataclass(slots=True)
class Play:
    """What happened: who came, in order, and the batches that ran."""

    visits: list[Visit] = field(default_factory=list)
    batches: list[RunningBatch[Visit]] = field(default_factory=list)
    duration_s: float = 0.0

    def of(self, outcome: str, criticality: Criticality | None = None) -> list[Visit]:
        """Return the visits that ended so."""
        return [
            visit
            for visit in self.visits
            if visit.outcome == outcome and criticality in (None, visit.criticality)
        ]

    def share(self, outcome: str, criticality: Criticality | None = None) -> float:
        """Return the share of visits (of a criticality) that ended so."""
        came = [visit for visit in self.visits if criticality in (None, visit.criticality)]
        return len(self.of(outcome, criticality)) / len(came)

    @property
    def goodput(self) -> float:
        """Answers in time per second."""
        return len(self.of("done")) / self.duration_s

    @property
    def mean_size(self) -> float:
        return sum(len(batch.members) for batch in self.batches) / len(self.batches)

    def overlaps(self) -> bool:
        """Return whether a batch began before the one before it had ended."""
        return any(
            after.started_s < before.members[0].ended_s - 1e-12 for before, after in pairwise(self.batches)
        )


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """How long a batch really takes: a line with noise that is lognormal, of mean 1."""

    fixed_s: float
    row_s: float
    noise: float = 0.0

    def of(self, rows: int, random: Random) -> float:
        factor = math.exp(random.gauss(-self.noise * self.noise / 2, self.noise)) if self.noise else 1.0
        return (self.fixed_s + self.row_s * rows) * factor

    def capacity(self, members: int) -> float:
        """Submissions per second in batches of `members`, one row each."""
        return members / (self.fixed_s + self.row_s * members)


def poisson(
    random: Random,
    *,
    rate: float,
    duration_s: float,
    timeout_s: Callable[[Random], float],
    criticality: Callable[[Random], Criticality] = lambda _: Criticality.DEFAULT,
    rows: Callable[[Random], int] = lambda _: 1,
    from_s: float = 0.0,
) -> Iterator[Visit]:
    """Yield visits that come at random, `rate` per second, from `from_s` on."""
    now_s = from_s + random.expovariate(rate)
    while now_s < from_s + duration_s:
        yield visit(now_s, timeout_s(random), criticality(random), rows(random))
        now_s += random.expovariate(rate)


def visit(
    at_s: float,
    timeout_s: float,
    criticality: Criticality = Criticality.DEFAULT,
    rows: int = 1,
    key: str = "",
) -> Visit:
    """Return a visit that comes at `at_s`."""
    deadline_s = at_s + timeout_s
    return Visit(key, criticality, rows, at_s, deadline_s, deadline_s, waiting=False)


def play(
    arrivals: Iterable[Visit],
    service_s: Callable[[int, float], float],
    limits: BatchLimits,
    max_running: int = 1,
) -> Play:
    """Return what becomes of `arrivals`; `service_s(rows, now_s)` says how long a batch takes."""
    return _Simulation(service_s, limits, max_running).play(arrivals)


class _Simulation:
    def __init__(
        self, service_s: Callable[[int, float], float], limits: BatchLimits, max_running: int
    ) -> None:
        self.clock = ManualClock(monotonic_s=0.0)
        self.schedule: Schedule[Visit] = Schedule(limits, max_running)
        self.service_s = service_s
        self.limits = limits
        self.max_running = max_running
        self.ends: list[tuple[float, int, RunningBatch[Visit]]] = []
        self.result = Play()

    def play(self, arrivals: Iterable[Visit]) -> Play:
        for arrival in arrivals:
            self.run_until(arrival.submitted_s)
            self.result.visits.append(arrival)
            self.arrive(arrival)
        self.run_until(math.inf)
        self.result.duration_s = self.clock.monotonic_s()
        return self.result

    def arrive(self, arrival: Visit) -> None:
        arrival.due_s = min(arrival.deadline_s, arrival.submitted_s + self.limits.patience_s)
        try:
            displaced = self.schedule.submit(arrival, arrival.submitted_s)
        except Overloaded:
            arrival.outcome = "refused"
            return
        except DeadlineExceeded:
            arrival.outcome = "late"
            return
        if displaced is not None:
            displaced.outcome = "displaced"
        self.start()

    def run_until(self, until_s: float) -> None:
        """End the batches that end before `until_s`, and start what follows them; then it is `until_s`."""
        while self.ends and min(self.ends)[0] <= until_s:
            end = min(self.ends)
            self.ends.remove(end)
            self.move_to(end[0])
            self.end(end[2])
            self.start()
        if until_s < math.inf:
            self.move_to(until_s)

    def move_to(self, at_s: float) -> None:
        self.clock.advance(at_s - self.clock.monotonic_s())

    def start(self) -> None:
        now_s = self.clock.monotonic_s()
        while self.schedule.waiting_count and len(self.schedule.running) < self.max_running:
            batch, late = self.schedule.start(now_s)
            for visit in late:
                visit.outcome = "late"
            if batch is None:
                return
            for visit in batch.members:
                visit.outcome, visit.started_s = "running", now_s
            self.result.batches.append(batch)
            took_s = self.service_s(batch.rows, now_s)
            self.ends.append((now_s + took_s, len(self.result.batches), batch))

    def end(self, batch: RunningBatch[Visit]) -> None:
        now_s = self.clock.monotonic_s()
        self.schedule.finish(batch, now_s, ran=True)
        for visit in batch.members:
            visit.ended_s = now_s
            visit.outcome = "done" if now_s < visit.deadline_s else "overdue"
