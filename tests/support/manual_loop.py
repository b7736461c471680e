"""An event loop on a manual clock: timers take no time, order is the same each run, and a program in which
everybody waits for ever is an error instead of a hang."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from runtime.clock import ManualClock

T = TypeVar("T")


class EverybodyWaits(Exception):
    """Nothing is ready, and no timer is due, ever."""


class ManualLoop(asyncio.BaseEventLoop):
    """Without sockets. When nothing is ready it moves the clock on to the next timer."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self._selector = _NoSockets(clock)

    def time(self) -> float:
        return self._clock.monotonic_s()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


class _NoSockets:
    """What the loop asks for events: it waits by moving the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise EverybodyWaits
        if timeout > 0:
            self._clock.advance(timeout)
        return []


def run(program: Coroutine[Any, Any, T], clock: ManualClock) -> T:
    """Return what `program` returns on a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: ManualLoop(clock)) as runner:
        return runner.run(program)
