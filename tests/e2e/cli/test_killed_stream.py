"""A stream worker that is killed with SIGKILL anywhere, while it brings in history and while events flow: the
rows at the end equal a recount from the raw events."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.stream_process import StreamProcess
from tests.support.trend_application import WITH_HISTORY, Trend, some_events, write_past


@pytest.fixture
def store() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture
async def trend(
    tmp_path: Path, store: TemporaryStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Trend]:
    monkeypatch.chdir(tmp_path)
    connection = await RedisConnection.connect(store.url, RedisSettings(), SystemClock())
    yield Trend(tmp_path, connection)
    await connection.aclose()


async def killed(trend: Trend, process: StreamProcess, kills: int, past: int, count: int) -> list[str]:
    """Publish events while workers are killed, each when a view has some random part of them, of history or
    stream; check the rows; return what was done, for people."""
    random = np.random.default_rng()
    events = some_events(past + count, time.time_ns() // 1000 - 60_000_000)
    events.sort(key=lambda event: event["rated_at"])
    write_past(trend.directory, events[:past])
    await trend.apply(WITH_HISTORY)

    async def publish() -> None:
        for start in range(past, past + count, 50):
            await trend.publish(events[start : start + 50])
            await asyncio.sleep(0.02)

    await trend.publish(events[past - 200 : past])  # what the history holds, too
    publishing, said = asyncio.create_task(publish()), list[str]()
    for number in range(1, kills + 1):
        target = random.uniform(number - 1, number) / (kills + 1) * len(events)
        process.start()
        async with asyncio.timeout(60):
            while await counted(trend) < target:  # noqa: ASYNC110  another process counts
                await asyncio.sleep(0.05)
        await asyncio.to_thread(process.kill)
        so_far = f"{await counted(trend):,} of {len(events):,} events are in view user_trend"
        said.append(f"kill -9 number {number}: {so_far}")
    await publishing
    await asyncio.to_thread(process.catch_up)
    await trend.check_recount(events)
    return [*said, f"all tiles of both views equal a recount of {len(events):,} events"]


async def counted(trend: Trend) -> int:
    """Return how many events the rows of the stream's own key count."""
    tiles = await trend.tiles("user_trend")
    return int(sum(parts[0] for row in tiles.values() for parts in row.values()))


async def test_rows_equal_a_recount_when_workers_are_killed(trend: Trend, store: TemporaryStore) -> None:
    process = StreamProcess(trend.directory, store.url, chunk=20)
    await killed(trend, process, 2, 500, 1_000)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_rows_equal_a_recount_when_ten_workers_are_killed(
    trend: Trend, store: TemporaryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    process = StreamProcess(trend.directory, store.url, chunk=50)
    said = await killed(trend, process, 10, 3_000, 6_000)
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *said, ""]))


async def test_worker_ends_at_a_chunk_border_when_it_is_asked_to(trend: Trend, store: TemporaryStore) -> None:
    await trend.apply()
    events = some_events(1_500, time.time_ns() // 1000)
    await trend.publish(events)
    process = StreamProcess(trend.directory, store.url, chunk=50)
    process.start()
    async with asyncio.timeout(30):
        while not await trend.checkpoint(0):  # noqa: ASYNC110  another process says so
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(process.end) == 0
    for partition in range(4):
        assert (await trend.checkpoint(partition))["problem"] == ""
        lease = f"forebay:{{trend:ratings:{partition}}}:lease"
        assert await trend.connection.execute("EXISTS", lease) == 0
    await asyncio.to_thread(process.catch_up)
    await trend.check_recount(events)
