"""Where CPU-bound work runs: at once on the event loop while it is predicted to be short, else in a thread.
A hop to a thread costs about 60 to 100 us, as much as the work it would save the loop from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded

from runtime.clock import Clock

T = TypeVar("T")

_WEIGHT = 0.2
"""Of the newest duration in the decaying estimate."""


class Estimate:
    """A decaying mean of one kind of work's processor time per unit: per query, per row. Unknown work counts
    as long: its first run may not stall the loop."""

    __slots__ = ("unit_s",)

    def __init__(self) -> None:
        self.unit_s: float | None = None

    def observe(self, seconds: float, units: int) -> None:
        """Take one run into account."""
        unit_s = seconds / units
        self.unit_s = unit_s if self.unit_s is None else self.unit_s + _WEIGHT * (unit_s - self.unit_s)

    def is_short(self, units: int, limit_s: float) -> bool:
        """Return whether so many units are predicted to take less than `limit_s`."""
        return self.unit_s is not None and self.unit_s * units < limit_s


class Offload:
    """Runs functions inline or in a thread, by an estimate of how long each kind of work takes."""

    def __init__(self, clock: Clock, *, threads: int, inline_below_s: float) -> None:
        self._clock = clock
        self._inline_below_s = inline_below_s
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="offload")

    async def run(self, estimate: Estimate, units: int, deadline: Deadline, work: Callable[[], T]) -> T:
        """Return what `work` returns; `units` says how much work it is.

        Raises: DeadlineExceeded, when a thread is not done in time; its work goes on and is thrown away.
        Cost: inline, none; otherwise one hop to a thread and back.
        """
        if estimate.is_short(units, self._inline_below_s):
            return self._timed(estimate, units, work, self._clock.monotonic_s)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining_s(self._clock.monotonic_s()))):
                return await loop.run_in_executor(
                    self._executor, self._timed, estimate, units, work, self._clock.thread_cpu_s
                )
        except TimeoutError:
            raise DeadlineExceeded("the work was not done in time") from None

    def close(self) -> None:
        """End the threads once their work is done; queued work is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _timed(estimate: Estimate, units: int, work: Callable[[], T], now_s: Callable[[], float]) -> T:
        """Run the work and note what it took: in a thread its processor time, for a thread that is done waits
        for the interpreter as long as the loop keeps it busy, and would never count as short again."""
        start_s = now_s()
        try:
            return work()
        finally:
            estimate.observe(now_s() - start_s, units)
