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
    """A decaying mean of one kind of work's processor time. Unknown work counts as long: its first run may not
    stall the loop."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: float | None = None

    def observe(self, seconds: float) -> None:
        """Take one run's duration into account."""
        self.seconds = seconds if self.seconds is None else self.seconds + _WEIGHT * (seconds - self.seconds)


class Offload:
    """Runs functions inline or in a thread, by an estimate of how long each kind of work takes."""

    def __init__(self, clock: Clock, *, threads: int, inline_below_s: float) -> None:
        self._clock = clock
        self._inline_below_s = inline_below_s
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="offload")

    async def run(self, estimate: Estimate, deadline: Deadline, work: Callable[[], T]) -> T:
        """Return what `work` returns.

        Raises: DeadlineExceeded, when a thread is not done in time; its work goes on and is thrown away.
        Cost: inline, none; otherwise one hop to a thread and back.
        """
        if estimate.seconds is not None and estimate.seconds < self._inline_below_s:
            return self._timed(estimate, work)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining_s(self._clock.monotonic_s()))):
                return await loop.run_in_executor(self._executor, self._timed, estimate, work)
        except TimeoutError:
            raise DeadlineExceeded("the work was not done in time") from None

    def close(self) -> None:
        """End the threads once their work is done; queued work is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _timed(self, estimate: Estimate, work: Callable[[], T]) -> T:
        # Processor time: a thread that is done waits for the interpreter as long as the loop keeps it busy;
        # counting that as work would keep short work in threads for ever.
        start_s = self._clock.thread_cpu_s()
        try:
            return work()
        finally:
            estimate.observe(self._clock.thread_cpu_s() - start_s)
