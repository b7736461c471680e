"""How many requests of one kind are under way at a time: found out from how long they wait and whether they
are late, and shared out by criticality. Pure: time comes in as an argument; nobody waits here. What is known
of one criticality is in `limiter_level.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from runtime.batcher.entry import Criticality
from runtime.limiter_level import Level
from runtime.retry_times import RetryTimes

_BUSY_RATIO = 0.5
"""Of a window: with so much waiting in it, all waits together, somebody was always next."""
_KEEP = 0.5
"""What the rate and the service time keep of the past, per window."""
_TURNS = 2.2
"""A wait of one run, the run itself, and a little: with batches nobody is faster while there is load."""
_LONGEST_RATIO = 0.85
"""Of what requests are given: more than that is never aimed at."""
_FORGOTTEN_S = 60.0
"""A window of that length without much waiting leaves nothing of what the rate was before."""
_EARLY_RATIO = 0.5
"""Of what it was given: who is given up before so much of it has gone by was so by an estimate of what is to
come, which says nothing of how many there are."""
_SURE_RATIO = 0.5
"""Of as many as are in time one after another: so many are always let in."""
_SHORTEST_S = 1e-6


class Outcome(Enum):
    """How an admitted request ended."""

    ANSWERED = "answered"
    """In time; with an answer, or with an error that is none of load's."""
    MISSED = "missed"
    """Not by its deadline; or given up because that couldn't be met any more."""
    GONE = "gone"
    """It says nothing about load: its caller hung up, or it was refused further on."""


@dataclass(frozen=True, slots=True)
class LimiterLimits:
    """The bounds of a limiter.

    ceiling: the most under way at a time, of one criticality and those above it; where it starts.
    shares: how much of what requests are given they should spend here on the average, by criticality.
    window_s: how often the limit is reconsidered.
    probe_s: how long a criticality is refused altogether before one of it is let through all the same.
    adaptive: without it the limit stays at the ceiling.
    """

    ceiling: int = 512
    shares: tuple[float, float, float] = (0.8, 0.6, 0.4)
    window_s: float = 0.1
    probe_s: float = 0.1
    adaptive: bool = True


@dataclass(slots=True)
class Permit:
    """The right to be under way; given back by `Limiter.release`. Units: seconds of the monotonic clock."""

    criticality: Criticality
    admitted_s: float
    given_s: float


@dataclass(slots=True)
class Refusal:
    """Why there is no permit: `limit` are under way. `retry_after_s`: how long those take, times as many as
    come for each place."""

    limit: int
    retry_after_s: float


@dataclass(slots=True)
class LimiterStats:
    """Counts since the start; `admitted` and `refused` by criticality, `probes` are among the `admitted`.

    Each permit given back adds to one of `answered`, `missed` and `gone`. `cuts` counts how often a limit
    was lowered for misses or long stays.
    """

    admitted: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    refused: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    answered: int = 0
    missed: int = 0
    gone: int = 0
    probes: int = 0
    cuts: int = 0


@dataclass(slots=True)
class _Window:
    """What came and ended since `from_s`. `busy_s`: how long anybody was under way."""

    from_s: float
    admitted: int = 0
    refused: int = 0
    answered: int = 0
    busy_s: float = 0.0
    waited_s: float = 0.0
    service_s: float = 0.0


class Limiter:
    """Admits a request unless so many of its criticality and those above it are under way already.

    Each criticality c has a limit of its own, on the number n(c) under way of c and the more critical, for
    those are what a request of c may have to wait for where the more critical go first. Once per window:

        aim(c)   = max(share(c) * D(c), min(2.2 * s, 0.85 * D(c)))    seconds that requests should spend here
        cap(c)   = X * aim(c) * h(c)                                  Little's law
        least(c) = max(1, 0.5 * aim(c) / s)           one after another those are in time with ease
        limit(c) = 0.85 * min(limit(c), most n(c))    if over 5% of c missed, or spent over 1.5 * aim(c)
                 = min(limit(c), cap(c))              if they spent over aim(c)
                 = limit(c) + 1, 2, 4, 8 ...          else: at most to cap(c) or 1.5 * most n(c) + 1

    D: the harmonic mean of what those of c were given that were answered. s: the mean time between
    the end of the wait and the answer. X: answers per second of the time in which anybody was under way, in
    windows in which they waited; in other windows X may be more than that, for batches would be larger under
    load, so it doubles every second: a limit from a slow spell doesn't outlast it. h: how far n(c) rose above
    its mean, 1 to 2, for Little's law is of means. Beyond the cap a limit grows only while it is reached and
    requests are fast all the same: a server that runs batches answers more the more are under way, which X
    can't tell beforehand. A limit is least(c) to `ceiling`. The least critical aim at the least, so they are
    the first to be refused, and never keep out the others: n(c) doesn't count them.

    Where waiting is under a tenth of what they spent, fewer at a time are no cure, and nothing is cut: a
    dependency that is slow is its gate's business. After a cut,
    those that were admitted before it no longer count. Where a criticality has been refused for `probe_s`,
    one is admitted all the same, whatever the limit.

    Cost: about two microseconds for a permit and its release; no tasks, no timers.
    Source: additive increase, multiplicative decrease (Chiu and Jain 1989); Little's law.
    """

    __slots__ = (
        "_busy_from_s",
        "_levels",
        "_limits",
        "_pressure",
        "_rate_per_s",
        "_retries",
        "_service_s",
        "_stay_s",
        "_window",
        "in_flight",
        "stats",
    )

    def __init__(self, limits: LimiterLimits | None = None) -> None:
        self.stats = LimiterStats()
        self.in_flight = 0
        self._limits = limits or LimiterLimits()
        self._levels = [Level(self._limits.ceiling) for _ in Criticality]
        self._window = _Window(from_s=-inf)
        self._busy_from_s = inf
        self._rate_per_s = inf
        self._service_s = self._stay_s = 0.0
        self._pressure = 1.0
        self._retries = RetryTimes()

    def limit(self, criticality: Criticality = Criticality.DEFAULT) -> int:
        """Return how many of a criticality and those above it may be under way."""
        return int(self._levels[criticality].limit)

    def admit(self, now_s: float, criticality: Criticality, given_s: float) -> Permit | Refusal:
        """Return a permit, or why there is none. `given_s`: what the request has until its deadline."""
        level = self._levels[criticality]
        count = level.in_flight + 1
        for other in self._levels[:criticality]:
            count += other.in_flight
        if count > level.limit:
            if not level.probe_is_due(now_s, self._limits.probe_s):
                return self._refuse(criticality, level)
            self.stats.probes += 1
        if not self.in_flight:
            self._busy_from_s = now_s
        self.in_flight += 1
        level.enter(count)
        self._window.admitted += 1
        self.stats.admitted[criticality] += 1
        return Permit(criticality, now_s, given_s)

    def release(self, permit: Permit, now_s: float, waited_s: float, outcome: Outcome) -> None:
        """Give a permit back, once. `waited_s`: for how long the request stood in a queue before its turn."""
        level, window = self._levels[permit.criticality], self._window
        level.in_flight -= 1
        self.in_flight -= 1
        if not self.in_flight:
            window.busy_s += now_s - max(self._busy_from_s, window.from_s)
        spent_s = now_s - permit.admitted_s
        if outcome is Outcome.MISSED and self._says_nothing(permit.given_s, spent_s):
            outcome = Outcome.GONE
        if outcome is Outcome.GONE:
            self.stats.gone += 1
            return
        if window.from_s == -inf:
            window.from_s = permit.admitted_s
        window.waited_s += waited_s
        if outcome is Outcome.ANSWERED:
            self.stats.answered += 1
            window.answered += 1
            window.service_s += spent_s - waited_s
        else:
            self.stats.missed += 1
        level.ended(permit.admitted_s, permit.given_s, spent_s, waited_s, missed=outcome is Outcome.MISSED)
        if now_s - window.from_s >= self._limits.window_s:
            self._reconsider(now_s)

    def _says_nothing(self, given_s: float, spent_s: float) -> bool:
        """Return whether who missed would have done so whatever their number: given up early, by an estimate;
        or with less time than it takes, from the start. The latter are many where calls spend their time in
        front of this process; learnt from, they would say that even one under way is too many."""
        return spent_s < _EARLY_RATIO * given_s or given_s < self._service_s

    def _refuse(self, criticality: Criticality, level: Level) -> Refusal:
        self.stats.refused[criticality] += 1
        self._window.refused += 1
        return Refusal(int(level.limit), self._retries.after(self._stay_s * self._pressure))

    def _reconsider(self, now_s: float) -> None:
        """Close the window and set every limit anew."""
        window, self._window = self._window, _Window(from_s=now_s)
        if self.in_flight:
            window.busy_s += now_s - max(self._busy_from_s, window.from_s)
        seconds = max(now_s - window.from_s, _SHORTEST_S)
        self._measure(window, seconds)
        self._pressure = 1.0 + window.refused / max(window.admitted, 1)
        spent_s = 0.0
        for share, level in zip(self._limits.shares, self._levels, strict=True):
            given_s = level.given_s
            level.aim_s = max(share * given_s, min(_TURNS * self._service_s, _LONGEST_RATIO * given_s))
            spent_s += level.spent_s
            if not self._limits.adaptive:
                continue
            cap = self._rate_per_s * level.aim_s * level.peak_ratio(spent_s / seconds)
            least = _SURE_RATIO * level.aim_s / self._service_s if self._service_s else 1.0
            self.stats.cuts += level.adapt(now_s, cap, max(1.0, min(least, self._limits.ceiling)))

    def _measure(self, window: _Window, seconds: float) -> None:
        """Learn how many a second can be answered, and how long one takes once it is its turn."""
        rate_per_s = window.answered / max(window.busy_s, _SHORTEST_S)
        if window.waited_s >= _BUSY_RATIO * seconds:
            before_per_s = self._rate_per_s if self._rate_per_s < inf else rate_per_s
            self._rate_per_s = _KEEP * before_per_s + (1.0 - _KEEP) * rate_per_s
        else:
            self._rate_per_s = max(self._rate_per_s * 2.0 ** min(seconds, _FORGOTTEN_S), rate_per_s)
        if window.answered:
            service_s = window.service_s / window.answered
            stay_s = service_s + window.waited_s / window.answered
            self._stay_s = _KEEP * (self._stay_s or stay_s) + (1.0 - _KEEP) * stay_s
            self._service_s = _KEEP * (self._service_s or service_s) + (1.0 - _KEEP) * service_s
