"""When the calls of an open loop are due, and what became of them. Pure arithmetic; `open_load.py` makes the
calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 1.0
"""How long a share must be good for before the load counts as served again."""


class Outcome(IntEnum):
    """What became of a call."""

    UNSENT = 0
    """Its deadline passed before there was a stream for it."""
    GOOD = 1
    """Answered in time."""
    DEGRADED = 2
    """Answered in time, with something left out or replaced."""
    REFUSED = 3
    """Answered with an error."""
    EXPIRED = 4
    """Not answered at all until long after its deadline; the generator gave it up."""
    LATE = 5
    """Answered, but after its deadline."""


STEP_S = 0.1
"""The resolution of a timeline."""

LAG_S = 0.02
"""A call that is put on the wire later than this after it was due doesn't count as sent: the generator or the
server's limit on streams held it back."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a load: how long, and how many calls are due per second."""

    seconds: float
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """Calls to make. Shapes: `due_s` (n,) rising seconds from the start, `lane` (n,) who makes each."""

    phases: tuple[Phase, ...]
    due_s: NDArray[np.float64]
    lane: NDArray[np.intp]


def poisson(phases: Sequence[Phase], shares: Sequence[float], seed: int) -> Schedule:
    """Return calls that come independently of each other, each phase at its rate, in lanes by shares."""
    rng = np.random.default_rng(seed)
    start_s, parts = 0.0, []
    for phase in phases:
        count = rng.poisson(phase.seconds * phase.rate_per_s)
        parts.append(start_s + np.sort(rng.random(count)) * phase.seconds)
        start_s += phase.seconds
    due_s = np.concatenate(parts)
    weights = np.array(shares) / sum(shares)
    return Schedule(tuple(phases), due_s, rng.choice(len(weights), size=len(due_s), p=weights))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a schedule's calls.

    Shapes: (n,). `lag_s` and `latency_s` count from when a call was due, until it was sent and until it
    ended; NaN where it wasn't, or didn't.
    """

    schedule: Schedule
    outcome: NDArray[np.intp]
    lag_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]

    def phases(self, lanes: Sequence[str]) -> list[dict[str, Any]]:
        """Return each phase's counts, rates and latencies, and its counts by lane."""
        start_s, found = 0.0, []
        for phase in self.schedule.phases:
            within = self._between(start_s, start_s + phase.seconds)
            found.append(self._summary(phase, within, lanes))
            start_s += phase.seconds
        return found

    def timeline(self, step_s: float) -> list[dict[str, float]]:
        """Return the counts of the calls due in each `step_s`."""
        end_s = sum(phase.seconds for phase in self.schedule.phases)
        starts_s = np.arange(0.0, end_s, step_s)
        return [
            {"start_s": round(float(start_s), 3), **self._counts(self._between(start_s, start_s + step_s))}
            for start_s in starts_s
        ]

    def _summary(self, phase: Phase, within: NDArray[np.bool_], lanes: Sequence[str]) -> dict[str, Any]:
        in_time = within & np.isin(self.outcome, (Outcome.GOOD, Outcome.DEGRADED))
        answered = in_time | (within & (self.outcome == Outcome.LATE))
        latencies_us = self.latency_s[answered] * 1e6
        counts = self._counts(within)
        return {
            "seconds": phase.seconds,
            **counts,
            "offered_per_s": counts["offered"] / phase.seconds,
            "goodput_per_s": float(in_time.sum()) / phase.seconds,
            "p50_us": _percentile(latencies_us, 50),
            "p99_us": _percentile(latencies_us, 99),
            "refused_p50_us": _percentile(
                self.latency_s[within & (self.outcome == Outcome.REFUSED)] * 1e6, 50
            ),
            "lanes": {
                name: self._counts(within & (self.schedule.lane == place)) for place, name in enumerate(lanes)
            },
        }

    def _between(self, start_s: float, end_s: float) -> NDArray[np.bool_]:
        return (self.schedule.due_s >= start_s) & (self.schedule.due_s < end_s)

    def _counts(self, within: NDArray[np.bool_]) -> dict[str, int]:
        counts = np.bincount(self.outcome[within], minlength=len(Outcome)).tolist()
        sent = int((self.lag_s[within] <= LAG_S).sum())
        return {"offered": sum(counts), "sent": sent, **{each.name.lower(): counts[each] for each in Outcome}}


def recovery_s(
    timeline: Sequence[dict[str, float]], after_s: float, wanted: float, kind: str
) -> float | None:
    """Return how long after `after_s` it took until, of the calls of the next second, the share `wanted`
    ended as `kind`; None where that never happened.
    """
    later = [step for step in timeline if step["start_s"] >= after_s - 1e-9]
    if len(later) < 2:
        return None
    steps = round(WINDOW_S / (later[1]["start_s"] - later[0]["start_s"]))
    for first in range(len(later) - steps + 1):
        window = later[first : first + steps]
        offered = sum(step["offered"] for step in window)
        if offered and sum(step[kind] for step in window) >= wanted * offered:
            return later[first]["start_s"] - after_s
    return None


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if len(values) else None
