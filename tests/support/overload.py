"""Plays arrivals against a limiter with a batcher's schedule behind it, and an event loop in front that takes
time for every call, even one that it refuses; on a manual clock, the same each run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from forebay.errors import DeadlineExceeded, Overloaded

from runtime.batcher import BatchLimits, Criticality
from runtime.batcher.schedule import RunningBatch, Schedule
from runtime.limiter import Limiter, Outcome, Permit, Refusal
from tests.support.simulation import Visit


@dataclass(frozen=True, slots=True)
class Server:
    """What is simulated.

    service_s: how long a batch of so many rows takes that starts at a time; in a thread beside the loop.
    call_s: of the loop, for taking in a call, refused or not; `reply_s` for an answer.
    streams: how many calls the clients may have open; the others wait in the client, and give up there.
    """

    service_s: Callable[[int, float], float]
    batches: BatchLimits = field(default_factory=lambda: BatchLimits(members=1))
    call_s: float = 0.0002
    reply_s: float = 0.00005
    streams: int = 1024


@dataclass(slots=True)
class Load:
    """What happened. `limits` has the limit of DEFAULT at every answer."""

    visits: list[Visit] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    most_in_flight: int = 0

    def came(self, from_s: float, to_s: float, criticality: Criticality | None = None) -> list[Visit]:
        """Return who came in a period."""
        return [
            visit
            for visit in self.visits
            if from_s <= visit.submitted_s < to_s and criticality in (None, visit.criticality)
        ]

    def share(
        self, outcome: str, from_s: float, to_s: float, criticality: Criticality | None = None
    ) -> float:
        """Return the share of those who came in a period that ended so."""
        came = self.came(from_s, to_s, criticality)
        return sum([visit.outcome == outcome for visit in came]) / len(came)

    def goodput(self, from_s: float, to_s: float) -> float:
        """Return answers in time per second, of a period."""
        done = [visit for visit in self.visits if visit.outcome == "done" and from_s <= visit.ended_s < to_s]
        return len(done) / (to_s - from_s)

    def limits_between(self, from_s: float, to_s: float) -> list[int]:
        return [limit for at_s, limit in self.limits if from_s <= at_s < to_s]


def overload(arrivals: Iterable[Visit], server: Server, limiter: Limiter) -> Load:
    """Return what becomes of `arrivals`, which come in order.

    Outcomes: done; overdue (answered, too late); shed (by the limiter); refused, displaced and late (by the
    batcher); expired (it reached the server too late); unsent (it never left the client).
    """
    return _Simulation(server, limiter).play(arrivals)


class _Simulation:
    def __init__(self, server: Server, limiter: Limiter) -> None:
        self.server = server
        self.limiter = limiter
        self.schedule: Schedule[Visit] = Schedule(server.batches, 1)
        self.now_s = 0.0
        self.loop_free_s = 0.0
        self.open = 0
        self.client: deque[Visit] = deque()
        self.permits: dict[int, Permit] = {}
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.load = Load()

    def play(self, arrivals: Iterable[Visit]) -> Load:
        for arrival in arrivals:
            self.run_until(arrival.submitted_s)
            self.load.visits.append(arrival)
            self.client.append(arrival)
            self.send()
        self.run_until(math.inf)
        return self.load

    def at(self, at_s: float, event: Callable[[], None]) -> None:
        self.count += 1
        heappush(self.events, (at_s, self.count, event))

    def run_until(self, until_s: float) -> None:
        while self.events and self.events[0][0] <= until_s:
            self.now_s, _, event = heappop(self.events)
            event()
        if until_s < math.inf:
            self.now_s = until_s

    def busy(self, seconds: float) -> float:
        """Occupy the loop; return when it is done with that."""
        self.loop_free_s = max(self.loop_free_s, self.now_s) + seconds
        return self.loop_free_s

    def reply(self) -> float:
        """Occupy the loop with an answer, which is ahead of calls that aren't taken in yet; return when it is
        done."""
        taking_in_s = min(max(0.0, self.loop_free_s - self.now_s), self.server.call_s)
        self.busy(self.server.reply_s)
        return self.now_s + taking_in_s + self.server.reply_s

    def send(self) -> None:
        while self.client and self.open < self.server.streams:
            visit = self.client.popleft()
            if visit.deadline_s <= self.now_s:
                visit.outcome = "unsent"
                continue
            self.open += 1
            self.at(self.busy(self.server.call_s), lambda visit=visit: self.arrive(visit))  # type: ignore[misc]

    def arrive(self, visit: Visit) -> None:
        now_s = self.now_s
        if visit.deadline_s <= now_s:
            self.close(visit, "expired")
            return
        permit = self.limiter.admit(now_s, visit.criticality, visit.deadline_s - now_s)
        if isinstance(permit, Refusal):
            self.close(visit, "shed")
            return
        self.permits[id(visit)] = permit
        self.load.most_in_flight = max(self.load.most_in_flight, self.limiter.in_flight)
        try:
            displaced = self.schedule.submit(visit, now_s)
        except Overloaded:
            self.release(visit, "refused", Outcome.GONE)
            return
        except DeadlineExceeded:
            self.release(visit, "late", Outcome.MISSED)
            return
        if displaced is not None:
            self.release(displaced, "displaced", Outcome.GONE)
        self.at(visit.deadline_s, self.expire)
        self.start()

    def expire(self) -> None:
        for visit in self.schedule.expire(self.now_s):
            self.release(visit, "late", Outcome.MISSED)

    def start(self) -> None:
        if self.schedule.running or not self.schedule.waiting_count:
            return
        batch, late = self.schedule.start(self.now_s)
        for visit in late:
            self.release(visit, "late", Outcome.MISSED)
        if batch is not None:
            for visit in batch.members:
                visit.started_s = self.now_s
            self.at(self.now_s + self.server.service_s(batch.rows, self.now_s), lambda: self.end(batch))

    def end(self, batch: RunningBatch[Visit]) -> None:
        self.schedule.finish(batch, self.now_s, ran=True)
        self.start()
        for visit in batch.members:
            replied_s = self.reply()
            visit.ended_s = replied_s
            in_time = replied_s < visit.deadline_s
            outcome = Outcome.ANSWERED if in_time else Outcome.MISSED
            self.release(visit, "done" if in_time else "overdue", outcome)

    def release(self, visit: Visit, what: str, outcome: Outcome) -> None:
        permit = self.permits.pop(id(visit))
        began_s = self.now_s if math.isnan(visit.started_s) else visit.started_s
        self.limiter.release(permit, self.now_s, began_s - permit.admitted_s, outcome)
        self.load.limits.append((self.now_s, self.limiter.limit()))
        self.close(visit, what)

    def close(self, visit: Visit, outcome: str) -> None:
        visit.outcome = outcome
        self.open -= 1
        self.send()
