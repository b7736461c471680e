"""The one place that reads the clocks. Everything else takes a `Clock`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock for durations and deadlines, a wall clock for event and as-of times, and what the
    processor has done."""

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never goes back; the same one that the event loop uses."""
        ...

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        ...

    def thread_cpu_s(self) -> float:
        """Return the seconds of processor time that the calling thread has used."""
        ...


class SystemClock:
    """The machine's clocks. Read dozens of times per request, so without a frame of Python where possible."""

    monotonic_s = staticmethod(time.monotonic)
    thread_cpu_s = staticmethod(time.thread_time)

    def now_us(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, *, now_us: int = 1_700_000_000_000_000, monotonic_s: float = 1000.0) -> None:
        self._now_us = now_us
        self._monotonic_s = monotonic_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def now_us(self) -> int:
        return self._now_us

    def thread_cpu_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds`."""
        self._monotonic_s += seconds
        self._now_us += round(seconds * 1_000_000)
