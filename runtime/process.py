"""What every serving process does around its own work: the event loop, signals, the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from google.protobuf.internal import api_implementation

THREAD_SWITCH_S = 0.0005
"""How long a busy thread keeps the interpreter from the event loop: a tenth of Python's default, since a
release is compiled and long work is done in threads while requests are answered."""

GARBAGE_THRESHOLDS = (50_000, 20, 50)
"""Allocations before the youngest generation is looked at, and how often the older ones are."""

Main = Callable[[asyncio.Event], Coroutine[Any, Any, int]]
"""A process's work: it gets the event that says stop, drains when that is set, and returns the exit code."""


def run(main: Main) -> int:
    """Run `main` on uvloop until it ends, and return its exit code.

    SIGTERM and SIGINT set its event; a second signal cancels it, and the exit code is 1.

    Raises: RuntimeError where protobuf would run in pure Python, which is many times slower and has no
    bound on nesting.
    """
    _require_native_protobuf()
    sys.setswitchinterval(THREAD_SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_stopped(main))


def freeze_garbage() -> None:
    """Take all that lives now out of the garbage collector's sight, and make it look more rarely.

    Called once, when everything is loaded: a full collection over plans, indexes and modules would stop every
    request for tens of milliseconds. Cost: one full collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


async def either(first: Coroutine[Any, Any, object], second: Coroutine[Any, Any, object]) -> None:
    """Return, or raise, as soon as one of the two ends; the other is cancelled."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_stopped(main: Main) -> int:
    stopping = asyncio.Event()
    work = asyncio.create_task(main(stopping))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping, work)
    try:
        return await work
    except asyncio.CancelledError:
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _stop(stopping: asyncio.Event, work: asyncio.Task[int]) -> None:
    if stopping.is_set():
        work.cancel()
    stopping.set()


def _require_native_protobuf() -> None:
    if api_implementation.Type() != "upb":
        raise RuntimeError(
            f"protobuf runs its {api_implementation.Type()} implementation; a server needs upb: "
            "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION and install a wheel of protobuf for this platform"
        )
