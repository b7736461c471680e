"""A worker whose clock has gone on: stopped for an hour after the server's answer; reading again."""

from __future__ import annotations

import asyncio

import pytest

from jobs.stream.dead_letters import DeadLetters
from jobs.stream.partitions import PartitionKeys
from jobs.stream.redis_source import RedisSource
from jobs.stream.requeue import Requeue
from jobs.stream.session import Sessions
from jobs.stream.source import Entries
from jobs.stream.worker import StreamWorker
from runtime.clock import SystemClock
from runtime.settings import Settings
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


async def test_dead_letter_counts_once_when_it_is_read_again_as_an_event_and_put_back(
    trend: Trend, redis_url: str
) -> None:
    clock, letters = PausedClock(), DeadLetters(trend.connection, PartitionKeys(APP, "ratings", 0))
    early = {"user_id": 1, "movie_id": 1, "rating": 4.0, "rated_at": now_us() + 70_000_000}
    await trend.add(0, *(text for pair in early.items() for text in map(str, pair)))

    async def run() -> list[str]:
        sessions = Sessions(settings_of(redis_url), redis_url, APP, clock)
        worker = StreamWorker(sessions, trend.connection, once=True)
        await worker.run(asyncio.Event())
        return worker.state.lines()

    assert await run() == ["stream ratings: 1 invalid"]
    clock.missed_us = 30_000_000
    assert await run() == ["stream ratings: nothing new"]
    [letter] = await letters.newest(2)
    plan = await trend.registry.live_plan()
    assert plan is not None
    stream = plan.application.streams["ratings"]
    await Requeue(trend.connection, APP, "ratings", stream, Settings().stream).put_back(f"0/{letter.id}")
    assert await run() == ["stream ratings: 2 applied"]
    await trend.registry.renew("user_trend")
    assert await run() == ["stream ratings: 1 applied, 1 repeated"]
    await trend.check_recount([early])


async def test_watermark_stays_behind_unread_events_when_one_that_was_ahead_of_its_time_is_read(
    trend: Trend, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, stop, go_on = PausedClock(), asyncio.Event(), asyncio.Event()
    at, read, reads = now_us(), RedisSource.read, 0
    for event_time_us in (at + 50_000_000, at):
        fields = {"user_id": 1, "movie_id": 1, "rating": 4.0, "rated_at": event_time_us}
        await trend.add(0, *(text for pair in fields.items() for text in map(str, pair)))

    async def read_once(self: RedisSource, after: int, count: int, wait_s: float) -> Entries:
        nonlocal reads
        reads += b":0}" in self._events.encode()
        if reads > 1:
            await go_on.wait()
        return await read(self, after, count, wait_s)

    monkeypatch.setattr(RedisSource, "read", read_once)
    clock.missed_us = HOUR_US
    sessions = Sessions(settings_of(redis_url, chunk_events=1, checkpoint_s=1e-6), redis_url, APP, clock)
    running = asyncio.create_task(StreamWorker(sessions, trend.connection).run(stop))

    async def marks() -> list[int]:
        found = await trend.registry.watermarks.read()
        return [view.marks[0].event_time_us for view in found.values() if 0 in view.marks]

    async def noted() -> bool:
        return bool(await marks())

    await until(noted)
    assert max(await marks()) < at
    stop.set()
    go_on.set()
    await running
