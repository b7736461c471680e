"""Ratios that a noisy machine can't fool: floor and ours measured in turns, each pair its own ratio, the
median of them the figure.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: its value, and whatever else was noted with it."""

    value: float
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """A measurement of the floor and the one of ours right after it."""

    floor: Sample
    ours: Sample

    @property
    def ratio(self) -> float:
        """Ours over the floor."""
        return self.ours.value / self.floor.value


@dataclass(frozen=True, slots=True)
class Figure:
    """What a row found: its value; the medians behind it, in `unit`; every repeat; and facts beside it."""

    value: float
    unit: str
    ours: float
    floor: float | None = None
    repeats: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def interleaved(
    floor: Callable[[], Sample], ours: Callable[[], Sample], repeats: int, tick: Callable[[int], None]
) -> list[Pair]:
    """Return `repeats` pairs: floor, ours, floor, ours... `tick` is told how many pairs are done."""
    pairs = []
    for number in range(repeats):
        tick(number)
        pairs.append(Pair(floor(), ours()))
    tick(repeats)
    return pairs


def ratio_figure(pairs: Sequence[Pair], unit: str, facts: Mapping[str, Any] | None = None) -> Figure:
    """Return the figure of some pairs: the median of their ratios."""
    return Figure(
        value=statistics.median(pair.ratio for pair in pairs),
        unit=unit,
        ours=statistics.median(pair.ours.value for pair in pairs),
        floor=statistics.median(pair.floor.value for pair in pairs),
        repeats=[{"ratio": pair.ratio, **asdict(pair)} for pair in pairs],
        facts=facts or {},
    )


def median_us(work: Callable[[], object], seconds: float) -> float:
    """Return the median microseconds of a call, repeated for `seconds` after a tenth of that to warm up."""
    _timed(work, seconds / 10)
    return statistics.median(_timed(work, seconds)) * 1e6


async def median_us_async(work: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Return what `median_us` does, of something that is awaited."""
    await _timed_async(work, seconds / 10)
    return statistics.median(await _timed_async(work, seconds)) * 1e6


def _timed(work: Callable[[], object], seconds: float) -> list[float]:
    taken_s: list[float] = []
    end_s = time.perf_counter() + seconds
    start_s = time.perf_counter()
    while start_s < end_s:
        work()
        now_s = time.perf_counter()
        taken_s.append(now_s - start_s)
        start_s = now_s
    return taken_s


async def _timed_async(work: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    taken_s: list[float] = []
    end_s = time.perf_counter() + seconds
    start_s = time.perf_counter()
    while start_s < end_s:
        await work()
        now_s = time.perf_counter()
        taken_s.append(now_s - start_s)
        start_s = now_s
    return taken_s
