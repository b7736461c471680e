"""A view's history, brought in before its stream: every event counts once, whoever begins it again."""

from __future__ import annotations

import asyncio

import pytest

from jobs.stream.partitions import events_key
from jobs.stream.worker import StreamWorker
from tests.support.stream_worker import inspection, now_us, run_once, until, worker_of
from tests.support.trend_application import (
    APP,
    HOUR_US,
    PARTITIONS,
    WITH_HISTORY,
    Event,
    Trend,
    some_events,
    write_past,
)

pytestmark = pytest.mark.parametrize("store_server", ["valkey"], indirect=True)
MINUTE_US = 60_000_000


@pytest.fixture
async def events(trend: Trend) -> list[Event]:
    """Events, the oldest first, of which the history holds all but the last hundred; it is applied."""
    found = sorted(some_events(1_100, now_us() - MINUTE_US), key=lambda event: event["rated_at"])
    write_past(trend.directory, found[:-100])
    await trend.apply(WITH_HISTORY)
    return found


async def is_done(trend: Trend) -> bool:
    [status] = await inspection(trend).statuses()
    return {view.history for view in status.views} == {"done"}


async def test_events_count_once_when_history_and_stream_overlap(
    trend: Trend, redis_url: str, events: list[Event]
) -> None:
    await trend.publish(events[-400:])
    worker = await run_once(trend, redis_url)
    await trend.check_recount(events)
    assert worker.state.lines() == [
        "history of user_trend: 1,000 applied",
        "history of movie_trend: 1,000 applied",
        "stream ratings: 200 applied, 600 covered",
    ]
    again = await run_once(trend, redis_url, replay_window_s=0)
    assert again.state.lines() == ["stream ratings: nothing new"]


async def test_history_is_gone_on_with_when_it_was_cut_off(
    trend: Trend, redis_url: str, events: list[Event]
) -> None:
    await trend.publish(events[-300:])
    for _ in range(3):
        stop = asyncio.Event()
        worker = worker_of(trend, redis_url, once=False, history_chunk_events=20)
        running = asyncio.create_task(worker.run(stop))

        async def begun(worker: StreamWorker = worker) -> bool:
            return any(state.done for state in worker.state.backfills.values()) or await is_done(trend)

        await until(begun)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await run_once(trend, redis_url)
    await trend.check_recount(events)


async def test_only_the_ring_is_filled_when_history_is_long(trend: Trend, redis_url: str) -> None:
    at = now_us()
    recent = some_events(100, at - MINUTE_US)
    write_past(trend.directory, [*some_events(2_000, at - 24 * HOUR_US, seed=2), *recent])
    await trend.apply(WITH_HISTORY)
    worker = await run_once(trend, redis_url)
    assert {state.total for state in worker.state.backfills.values()} == {100}
    await trend.check_recount(recent)


async def test_future_rows_do_not_hide_the_stream_when_history_has_them(trend: Trend, redis_url: str) -> None:
    at = now_us()
    past, later = some_events(100, at - MINUTE_US), some_events(50, at, seed=2, span_us=MINUTE_US)
    write_past(trend.directory, [*past, {**past[0], "rated_at": at + 1_000 * HOUR_US}])
    await trend.apply(WITH_HISTORY)
    await trend.publish(later)
    await run_once(trend, redis_url)
    await trend.check_recount([*past, *later])


async def test_view_waits_and_says_so_when_its_history_changes_under_it(
    trend: Trend, redis_url: str, events: list[Event]
) -> None:
    rows = {
        name: live.generation
        for name, live in (await trend.registry.live()).views.items()  # type: ignore[union-attr]
    }
    stop = asyncio.Event()
    worker = worker_of(trend, redis_url, once=False, history_chunk_events=20)
    running = asyncio.create_task(worker.run(stop))

    async def begun() -> bool:
        return len(worker.state.backfills) == 2 and all(s.done for s in worker.state.backfills.values())

    await until(begun)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not await is_done(trend)
    corrected = [{**event, "rating": 5.0} for event in events[:-100]]
    write_past(trend.directory, corrected)
    worker = worker_of(trend, redis_url, once=False)
    running = asyncio.create_task(worker.run(stop))

    async def said() -> bool:
        problems = [state.problem for state in worker.state.backfills.values()]
        return len(problems) == 2 and all("was changed while" in problem for problem in problems)

    await until(said)
    [status] = await inspection(trend).statuses()
    assert [view.complete_until_us for view in status.views] == [None, None]
    for view in rows:
        await trend.registry.renew(view)

    async def done() -> bool:
        return await is_done(trend)

    await until(done)
    stop.set()
    await running
    await trend.publish(events[-100:])
    await run_once(trend, redis_url)
    await trend.check_recount([*corrected, *events[-100:]])


async def test_history_says_what_is_wrong_when_a_column_is_missing(
    trend: Trend, redis_url: str, events: list[Event]
) -> None:
    (trend.directory / "past.parquet").unlink()
    stop = asyncio.Event()
    worker = worker_of(trend, redis_url, once=False)
    running = asyncio.create_task(worker.run(stop))

    async def said() -> bool:
        return all("past" in state.problem for state in worker.state.backfills.values()) and bool(
            worker.state.backfills
        )

    await until(said)
    write_past(trend.directory, events[:-100])

    async def done() -> bool:
        return await is_done(trend)

    await until(done)
    stop.set()
    await running
    for partition in range(PARTITIONS):
        assert await trend.connection.execute("EXISTS", events_key(APP, "ratings", partition)) == 0
    await trend.check_recount(events[:-100])
