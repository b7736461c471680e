"""Where a request's time went: a plain struct per step, kept on every request; spans are made from it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.clock import Clock


@dataclass(slots=True)
class StageTiming:
    """One step's place in its request's time. Units: microseconds, `start_us` since the request began.

    `given_us` is the time the step was allowed to take; 0 where it had no limit.
    """

    stage: str
    start_us: int
    duration_us: int = 0
    given_us: int = 0


class StageClock:
    """The timings of one request's steps, which follow each other: beginning one ends the one before.

    Cost: one clock read and one small object per step.
    """

    __slots__ = ("_clock", "_open", "_started_s", "timings")

    def __init__(self, clock: Clock, started_s: float) -> None:
        self.timings: list[StageTiming] = []
        self._clock = clock
        self._started_s = started_s
        self._open: StageTiming | None = None

    def begin(self, stage: str, given_us: int = 0) -> None:
        """Begin a step now, ending the one before."""
        now_us = self._now_us()
        self._close(now_us)
        self._open = StageTiming(stage, now_us, 0, given_us)
        self.timings.append(self._open)

    def end(self) -> None:
        """End the step under way, if any."""
        self._close(self._now_us())

    def _close(self, now_us: int) -> None:
        if self._open is not None:
            self._open.duration_us = now_us - self._open.start_us
            self._open = None

    def _now_us(self) -> int:
        return round((self._clock.monotonic_s() - self._started_s) * 1_000_000)
