"""A stream worker on a real store: what it has applied equals a recount from the events."""

from __future__ import annotations

import asyncio

import pytest
from forebay.errors import NotFound, NotUsable

from jobs.stream.dead_letters import DeadLetters
from jobs.stream.partitions import PartitionKeys, events_key
from jobs.stream.session import Sessions
from jobs.stream.worker import StreamWorker
from runtime.clock import SystemClock
from tests.support.stream_worker import inspection, now_us, run_once, settings_of, until, worker_of
from tests.support.trend_application import APP, PARTITIONS, YAML, Event, Trend, some_events

one_kind = pytest.mark.parametrize("store_server", ["valkey"], indirect=True)
"""Of what doesn't depend on how a server tells about its streams."""


async def test_rows_equal_a_recount_when_a_worker_has_caught_up(trend: Trend, redis_url: str) -> None:
    events = some_events(3_000, now_us())
    await trend.publish(events)
    worker = await run_once(trend, redis_url, chunk_events=200)
    await trend.check_recount(events)
    assert worker.state.lines() == [f"stream ratings: {2 * len(events):,} applied"]


async def test_nothing_changes_when_everything_is_read_again(trend: Trend, redis_url: str) -> None:
    events = some_events(500, now_us())
    await trend.publish(events)
    await run_once(trend, redis_url)
    for partition in range(PARTITIONS):
        await trend.connection.execute("DEL", f"forebay:{{trend:ratings:{partition}}}:checkpoint")
    worker = await run_once(trend, redis_url)
    await trend.check_recount(events)
    assert worker.state.lines() == [f"stream ratings: {2 * len(events):,} repeated"]


@one_kind
async def test_the_last_minute_is_read_again_when_a_worker_starts(trend: Trend, redis_url: str) -> None:
    await trend.publish(some_events(50, now_us()))
    await run_once(trend, redis_url)
    more = some_events(20, now_us(), seed=2)
    await trend.publish(more)
    again = await run_once(trend, redis_url)
    assert again.state.lines() == ["stream ratings: 40 applied, 100 repeated"]
    without = await run_once(trend, redis_url, replay_window_s=0)
    assert without.state.lines() == ["stream ratings: nothing new"]


async def test_garbage_becomes_dead_letters_when_it_is_no_event(trend: Trend, redis_url: str) -> None:
    at = now_us()
    good = some_events(20, at)
    await trend.publish(good)
    movie, rating, time_ = ("movie_id", "3"), ("rating", "4"), ("rated_at", str(at))
    await trend.add(1, *movie, *rating, *time_)
    await trend.add(1, "user_id", "7", *movie, "rating", "nan", *time_)
    await trend.add(1, "user_id", "7", *movie, "rating", "lots", *time_)
    await trend.add(1, "user_id", "7", *movie, *rating, "rated_at", "yesterday")
    await trend.add(1, "user_id", "7", *movie, *rating, "rated_at", str(at + 3_600_000_000))
    await trend.add(1, "user_id", b"\xff", *movie, *rating, *time_)
    await trend.add(1, "junk", b"\x00" * 10_000)
    worker = await run_once(trend, redis_url)
    await trend.check_recount(good)
    letters = DeadLetters(trend.connection, PartitionKeys(APP, "ratings", 1))
    assert [letter.reason for letter in reversed(await letters.newest(10))] == [
        "user_id is missing",
        "rating is nan, which is no value",
        "rating must be a number, not 'lots'",
        "rated_at must be microseconds or ISO 8601, not 'yesterday'",
        "rated_at is over 60 s in the future",
        "user_id is no UTF-8 text",
        "user_id is missing",
    ]
    newest, *_ = await letters.newest(1)
    assert newest.is_cut
    assert sum(map(len, newest.event)) == 8_192
    again = await run_once(trend, redis_url)
    assert await letters.count() == 7
    assert worker.state.partitions["ratings", 1].counts["invalid"] == 7
    assert again.state.partitions["ratings", 1].counts["invalid"] == 0


async def test_loss_is_counted_when_a_stream_is_trimmed_before_it_is_read(
    trend: Trend, redis_url: str
) -> None:
    await trend.publish(some_events(400, now_us()))
    await run_once(trend, redis_url)
    later = some_events(400, now_us(), seed=2)
    await trend.publish(later)
    for partition in range(PARTITIONS):
        key = events_key(APP, "ratings", partition)
        await trend.connection.execute("XTRIM", key, "MAXLEN", "=", 30)
    worker = await run_once(trend, redis_url)
    counts = [worker.state.partitions["ratings", number].counts["lost"] for number in range(PARTITIONS)]
    assert sum(counts) == 400 - PARTITIONS * 30
    [status] = await inspection(trend).statuses()
    assert status.count("lost") == sum(counts)
    assert status.lag_events == 0


async def test_events_are_counted_when_a_stream_is_made_anew(trend: Trend, redis_url: str) -> None:
    first = some_events(200, now_us())
    await trend.publish(first)
    await run_once(trend, redis_url)
    for partition in range(PARTITIONS):
        await trend.connection.execute("DEL", events_key(APP, "ratings", partition))
    second = some_events(100, now_us(), seed=2)
    await trend.publish(second)
    await run_once(trend, redis_url)
    await trend.check_recount([*first, *second])


async def test_events_are_counted_when_a_stream_made_anew_begins_with_smaller_ids(
    trend: Trend, redis_url: str
) -> None:
    at = now_us()
    first = some_events(40, at)
    for place, event in enumerate(first, 1):
        await trend.add(0, *(text for pair in event.items() for text in map(str, pair)), name=f"{place}-1")
    await run_once(trend, redis_url)
    await trend.connection.execute("DEL", events_key(APP, "ratings", 0))
    second = some_events(30, at, seed=2)
    for place, event in enumerate(second, 1):
        await trend.add(0, *(text for pair in event.items() for text in map(str, pair)), name=f"{place}-1")
    await run_once(trend, redis_url)
    await trend.check_recount([*first, *second])


@one_kind
async def test_former_rows_get_all_of_a_stream_made_anew_when_they_are_live_again(
    trend: Trend, redis_url: str
) -> None:
    async def add(events: list[Event]) -> None:
        for place, event in enumerate(events, 1):
            fields = [text for pair in event.items() for text in map(str, pair)]
            await trend.add(0, *fields, name=f"{10_000 * place}-1")  # beyond the replay window

    at = now_us()
    first = some_events(40, at)
    await add(first)
    await run_once(trend, redis_url)
    before = await trend.registry.live()
    assert before is not None
    await trend.registry.renew("user_trend")
    await trend.connection.execute("DEL", events_key(APP, "ratings", 0))
    second = some_events(30, at, seed=2)
    await add(second)
    await run_once(trend, redis_url)
    generation = before.views["user_trend"].generation
    await trend.registry.publish(lambda live: live.with_view("user_trend", generation))
    await run_once(trend, redis_url)
    await trend.check_recount([*first, *second])


@one_kind
async def test_two_workers_share_the_partitions_when_both_run(trend: Trend, redis_url: str) -> None:
    stop = asyncio.Event()
    workers = [worker_of(trend, redis_url, once=False, lease_s=1) for _ in range(2)]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    events = some_events(600, now_us())
    await trend.publish(events[:300])

    async def shared() -> bool:
        return [len(worker.state.partitions) for worker in workers] == [2, 2]

    await until(shared)
    await trend.publish(events[300:])

    async def applied() -> bool:
        [status] = await inspection(trend).statuses()
        return status.lag_events == 0

    await until(applied)
    stop.set()
    await asyncio.gather(*running)
    await trend.check_recount(events)
    [status] = await inspection(trend).statuses()
    assert {part.worker for part in status.partitions} == {""}


@one_kind
async def test_nothing_counts_twice_when_two_read_the_same_partitions(trend: Trend, redis_url: str) -> None:
    events = some_events(2_000, now_us())
    await trend.publish(events[:1_000])
    stop = asyncio.Event()
    workers = [worker_of(trend, redis_url, once=False, lease_s=1, chunk_events=50) for _ in range(3)]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    for event in range(1_000, 2_000, 100):
        for partition in range(PARTITIONS):
            await trend.connection.execute("DEL", PartitionKeys(APP, "ratings", partition).lease)
        await trend.publish(events[event : event + 100])
        await asyncio.sleep(0.05)

    async def applied() -> bool:
        [status] = await inspection(trend).statuses()
        return status.lag_events == 0

    await until(applied)
    stop.set()
    await asyncio.gather(*running)
    await trend.check_recount(events)


@one_kind
async def test_views_stay_fresh_when_no_event_comes(trend: Trend, redis_url: str) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker_of(trend, redis_url, once=False).run(stop))

    async def fresh() -> bool:
        [status] = await inspection(trend).statuses()
        return all(view.age_s is not None and view.age_s < 5 for view in status.views)

    await until(fresh)
    stop.set()
    await running


@one_kind
async def test_new_view_gets_what_the_stream_holds_when_it_is_added_later(
    trend: Trend, redis_url: str
) -> None:
    events = some_events(300, now_us())
    await trend.apply(YAML.replace("movie_trend", "movie_mood"))
    await trend.publish(events)
    await run_once(trend, redis_url)
    await trend.apply()
    await run_once(trend, redis_url)
    await trend.check_recount(events)


@one_kind
async def test_worker_refuses_when_nothing_is_applied_or_the_stream_is_unknown(
    trend: Trend, redis_url: str
) -> None:
    sessions = Sessions(settings_of(redis_url), redis_url, APP, SystemClock())
    with pytest.raises(NotFound, match="its streams: ratings"):
        await StreamWorker(sessions, trend.connection, ["rating"]).run(asyncio.Event())
    other = Sessions(settings_of(redis_url), redis_url, "other", SystemClock())
    with pytest.raises(NotUsable, match="forebay apply"):
        await StreamWorker(other, trend.connection).run(asyncio.Event())
