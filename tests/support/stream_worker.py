"""Stream workers in the test's own process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from jobs.stream.session import Sessions
from jobs.stream.status import StreamInspection
from jobs.stream.worker import StreamWorker
from runtime.clock import SystemClock
from runtime.settings import Settings
from tests.support.trend_application import APP, Trend


def now_us() -> int:
    """Return the machine's time, us."""
    return time.time_ns() // 1000


def settings_of(url: str, **stream: Any) -> Settings:
    """Return settings that look often; `stream` are those of streams."""
    stream = {"checkpoint_s": 0.05, "retry_longest_s": 0.5, **stream}
    return Settings(redis={"url": url}, registry={"poll_s": 0.05}, stream=stream)  # type: ignore[arg-type]


def worker_of(trend: Trend, url: str, *, once: bool = True, **stream: Any) -> StreamWorker:
    """Return a worker on the store at `url`."""
    sessions = Sessions(settings_of(url, **stream), url, APP, SystemClock())
    return StreamWorker(sessions, trend.connection, once=once)


async def run_once(trend: Trend, url: str, **stream: Any) -> StreamWorker:
    """Run a worker until it has caught up; return it."""
    worker = worker_of(trend, url, **stream)
    async with asyncio.timeout(30):
        await worker.run(asyncio.Event())
    return worker


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait, at most half a minute, until a condition holds."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)


def inspection(trend: Trend) -> StreamInspection:
    """Return what `forebay stream status` looks with."""
    return StreamInspection(trend.connection, trend.registry, Settings().stream, SystemClock())
