"""A worker that is stopped for an hour between the server's answer and its own look at the clock."""

from __future__ import annotations

import asyncio

import pytest

from jobs.stream.redis_source import RedisSource
from jobs.stream.session import Sessions
from jobs.stream.source import Entries
from jobs.stream.worker import StreamWorker
from runtime.clock import SystemClock
from tests.support.stream_worker import now_us, settings_of, until
from tests.support.trend_application import APP, HOUR_US, Trend, some_events

pytestmark = pytest.mark.parametrize("store_server", ["valkey"], indirect=True)


class PausedClock(SystemClock):
    """The machine's clock, and the time that was missed."""

    missed_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.missed_us


async def test_watermark_stays_behind_what_came_in_a_pause_when_the_last_answer_was_empty(
    trend: Trend, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, stop, go_on, paused = PausedClock(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    read = RedisSource.read

    async def read_with_a_pause(self: RedisSource, after: int, count: int, wait_s: float) -> Entries:
        if paused.is_set():
            await go_on.wait()
        entries = await read(self, after, count, wait_s)
        if not entries.count and not paused.is_set():
            paused.set()
            await trend.publish(some_events(100, now_us()))
            clock.missed_us = HOUR_US
        return entries

    monkeypatch.setattr(RedisSource, "read", read_with_a_pause)
    before_us = now_us()
    sessions = Sessions(settings_of(redis_url), redis_url, APP, clock)
    running = asyncio.create_task(StreamWorker(sessions, trend.connection).run(stop))

    async def noted_since() -> bool:
        found = await trend.registry.watermarks.read()
        return any(
            mark.heartbeat_us > before_us + HOUR_US for view in found.values() for mark in view.marks.values()
        )

    await until(noted_since)
    found = await trend.registry.watermarks.read()
    marks = [mark.event_time_us for view in found.values() for mark in view.marks.values()]
    assert max(marks) < before_us + HOUR_US // 2
    stop.set()
    go_on.set()
    await running
