"""How many requests of one kind are under way at a time: found out from how long they wait and whether they
are late, and shared out by criticality. Pure: time comes in as an argument; nobody waits here. What one
criticality knows is in `limiter_level.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from runtime.batcher.entry import Criticality
from runtime.limiter_level import Level
from runtime.retry_times import RetryTimes

_BUSY_RATIO = 0.5
"""Of a window: with so much waiting in it, all waits together, the server had no time to spare."""
_RATE_KEEP = 0.5
"""What the rate and the service time keep of the past, per window."""
_TURNS = 2.2
"""A wait of one run and the run itself, and a little: with batches nobody waits less while there is load."""
_LONGEST_RATIO = 0.85
"""Of what requests are given: more than that is never aimed at."""
_SHORTEST_WINDOW_S = 1e-6


class Outcome(Enum):
    """How an admitted request ended."""

    ANSWERED = "answered"
    MISSED = "missed"
    """Without an answer by its deadline."""
    GONE = "gone"
    """It says nothing about load: its caller hung up, or it was refused further on."""


@dataclass(frozen=True, slots=True)
class LimiterLimits:
    """The bounds of a limiter.

    ceiling: the most under way at a time, of one criticality and those above it; where it starts.
    shares: how much of what requests are given they should spend here on the average, by criticality.
    window_s: how often the limit is reconsidered.
    probe_s: how long a criticality is refused altogether before one of it is let through all the same.
    """

    ceiling: int = 512
    shares: tuple[float, float, float] = (0.8, 0.6, 0.4)
    window_s: float = 0.1
    probe_s: float = 0.1


@dataclass(slots=True)
class Permit:
    """The right to be under way; given back by `Limiter.release`. Units: seconds of the monotonic clock."""

    criticality: Criticality
    admitted_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no permit: `limit` are under way; it is worth another try in `retry_after_s`."""

    limit: int
    retry_after_s: float


@dataclass(slots=True)
class _Window:
    """What ended since `from_s`."""

    from_s: float = inf
    answered: int = 0
    busy_s: float = 0.0
    waited_s: float = 0.0
    service_s: float = 0.0
    admitted: int = 0
    refused: int = 0


@dataclass(slots=True)
class LimiterStats:
    """Counts since the start, by criticality; `probes` are among the `admitted`."""

    admitted: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    refused: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    answered: int = 0
    missed: int = 0
    gone: int = 0
    probes: int = 0
    cuts: int = 0


class Limiter:
    """Admits a request unless so many of its criticality and those above it are under way already.

    Each criticality c has a limit of its own, on the number n(c) under way of c and the more critical, for
    those are what a request of c may have to wait for where the more critical go first. Once per window:

        aim(c)   = max(share(c) * D(c), min(2.2 * s, 0.85 * D(c)))      seconds that requests should spend here
        cap(c)   = X * aim(c)                                           Little's law
        limit(c) = 0.85 * min(limit(c), most n(c))   if over 1% of c missed, or spent over 1.5 * aim(c)
                 = limit(c) + 1, 2, 4, 8 ...         else
        limit(c) = clamp(limit(c), 1, cap(c), ceiling)

    D: the harmonic mean of the time that requests of c were given when they came; s: the mean time between
    the end of the wait and the answer; X: answers per second of the time in which anybody was under way, in
    windows in which they waited. In other windows X may be more than that, for batches would be larger under
    load; it doubles every second: a limit from a slow spell doesn't outlast it. The least critical aim at the least, so they are the first to be refused
    and never hold back the others: n(c) doesn't count them.

    A miss counts if waiting took part in it; where nobody waits, fewer at a time are no cure. After a cut,
    those that were admitted before it no longer count. Where a criticality has been refused for `probe_s`,
    one is admitted all the same, whatever the limit.

    Cost: about a microsecond for a permit and its release; no tasks, no timers, nothing that waits.
    Source: additive increase, multiplicative decrease (Chiu and Jain 1989, section III); Little's law.
    """

    def __init__(self, limits: LimiterLimits | None = None) -> None:
        self.stats = LimiterStats()
        self._limits = limits or LimiterLimits()
        self._levels = [Level(self._limits.ceiling) for _ in Criticality]
        self._window = _Window()
        self._busy_from_s = inf
        self._rate_per_s = inf
        self._service_s = 0.0
        self._pressure = 1.0
        self._retries = RetryTimes()

    @property
    def in_flight(self) -> int:
        """How many are under way."""
        return sum([level.in_flight for level in self._levels])

    def limit(self, criticality: Criticality = Criticality.DEFAULT) -> int:
        """Return how many of a criticality and those above it may be under way."""
        return int(self._levels[criticality].limit)

    def admit(self, now_s: float, criticality: Criticality, given_s: float) -> Permit | Refusal:
        """Return a permit, or why there is none. `given_s`: what the request has until its deadline."""
        level = self._levels[criticality]
        level.note_given(given_s)
        ahead = level.in_flight
        for other in self._levels[:criticality]:
            ahead += other.in_flight
        if ahead + 1 > level.limit:
            if not level.probe_is_due(now_s, self._limits.probe_s):
                return self._refuse(criticality, level)
            self.stats.probes += 1
        level.enter(ahead + 1)
        if self._busy_from_s == inf:
            self._busy_from_s = now_s
        self.stats.admitted[criticality] += 1
        self._window.admitted += 1
        return Permit(criticality, now_s)

    def release(self, permit: Permit, now_s: float, waited_s: float, outcome: Outcome) -> None:
        """Give a permit back, once. `waited_s`: for how long the request stood in a queue before its turn."""
        level = self._levels[permit.criticality]
        level.in_flight -= 1
        if not self.in_flight:
            self._window.busy_s += now_s - self._busy_from_s
            self._busy_from_s = inf
        if outcome is Outcome.GONE:
            self.stats.gone += 1
            return
        window = self._window
        if window.from_s == inf:
            window.from_s = permit.admitted_s
        spent_s = now_s - permit.admitted_s
        window.waited_s += waited_s
        if outcome is Outcome.ANSWERED:
            self.stats.answered += 1
            window.answered += 1
            window.service_s += spent_s - waited_s
        else:
            self.stats.missed += 1
        level.ended(permit.admitted_s, spent_s, waited_s, missed=outcome is Outcome.MISSED)
        if now_s - window.from_s >= self._limits.window_s:
            self._reconsider(now_s)

    def _refuse(self, criticality: Criticality, level: Level) -> Refusal:
        self.stats.refused[criticality] += 1
        self._window.refused += 1
        return Refusal(int(level.limit), self._retries.after(level.aim_s * self._pressure))

    def _reconsider(self, now_s: float) -> None:
        """Close the window and set every limit anew."""
        window, self._window = self._window, _Window(from_s=now_s)
        if self._busy_from_s < inf:
            window.busy_s += now_s - self._busy_from_s
            self._busy_from_s = now_s
        seconds = max(now_s - window.from_s, _SHORTEST_WINDOW_S)
        self._measure(window, seconds)
        self._pressure = 1.0 + window.refused / max(window.admitted, 1)
        spent_s = 0.0
        for share, level in zip(self._limits.shares, self._levels, strict=True):
            given_s = level.given_s
            level.aim_s = max(share * given_s, min(_TURNS * self._service_s, _LONGEST_RATIO * given_s))
            spent_s += level.spent_s
            cap = self._rate_per_s * level.aim_s * level.peak_ratio(spent_s / seconds)
            self.stats.cuts += level.adapt(now_s, min(cap, self._limits.ceiling))

    def _measure(self, window: _Window, seconds: float) -> None:
        """Learn how many a second can be answered, and how long one takes once it is its turn."""
        rate_per_s = window.answered / max(window.busy_s, _SHORTEST_WINDOW_S)
        if window.waited_s >= _BUSY_RATIO * seconds:
            known = self._rate_per_s < inf
            kept = self._rate_per_s * _RATE_KEEP if known else rate_per_s * _RATE_KEEP
            self._rate_per_s = kept + rate_per_s * (1.0 - _RATE_KEEP)
        else:
            self._rate_per_s = max(self._rate_per_s * 2.0**seconds, rate_per_s)
        if window.answered:
            service_s = window.service_s / window.answered
            kept_s = self._service_s if self._service_s else service_s
            self._service_s = _RATE_KEEP * kept_s + (1.0 - _RATE_KEEP) * service_s
