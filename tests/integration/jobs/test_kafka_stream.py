"""Streams from Kafka, over brokers that librdkafka plays, or real ones (FOREBAY_TEST_KAFKA)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from forebay.errors import Unavailable

from jobs.stream.dead_letters import DeadLetters
from jobs.stream.event_sources import partition_count
from jobs.stream.kafka_source import KafkaSource
from jobs.stream.partitions import PartitionKeys
from jobs.stream.publishing import Pace, open_destination, publish
from jobs.stream.requeue import Requeue
from jobs.stream.source import BEGINNING, LastRead, lag_of
from registry.definitions import KafkaTopic
from runtime.clock import SystemClock
from runtime.settings import Settings
from tests.support.kafka_brokers import PARTITIONS, KafkaTopicUnderTest
from tests.support.stream_worker import inspection, now_us, run_once, until, worker_of
from tests.support.trend_application import APP, YAML, Event, Trend, some_events

pytestmark = pytest.mark.parametrize("store_server", ["valkey"], indirect=True)


@pytest.fixture
async def topic(trend: Trend) -> KafkaTopicUnderTest:
    found = KafkaTopicUnderTest()
    kafka = f"kafka: {{servers: '{found.servers}', topic: {found.topic}}}"
    await trend.apply(YAML.replace("redis: {stream: ratings, partitions: 4}", kafka))
    return found


async def test_rows_equal_a_recount_when_events_come_from_kafka(
    trend: Trend, redis_url: str, topic: KafkaTopicUnderTest
) -> None:
    events = some_events(1_000, now_us())
    topic.publish(events[:600])
    await run_once(trend, redis_url, chunk_events=100)
    topic.publish(events[600:])
    worker = await run_once(trend, redis_url)
    await trend.check_recount(events)
    assert sum(state.counts["applied"] for state in worker.state.partitions.values()) == 800
    [status] = await inspection(trend).statuses()
    assert [part.lag_events for part in status.partitions] == [0] * PARTITIONS


async def test_views_follow_and_stay_fresh_when_events_trickle(
    trend: Trend, redis_url: str, topic: KafkaTopicUnderTest
) -> None:
    stop, events = asyncio.Event(), some_events(20, now_us())
    running = asyncio.create_task(worker_of(trend, redis_url, once=False).run(stop))
    for event in events:
        topic.publish([event])

    async def applied() -> bool:
        [status] = await inspection(trend).statuses()
        fresh = all(view.age_s is not None and view.age_s < 10 for view in status.views)
        return fresh and status.count("applied") >= 2 * len(events)

    await until(applied)
    stop.set()
    await running
    await trend.check_recount(events)


async def test_garbage_becomes_dead_letters_and_goes_back_when_it_is_requeued(
    trend: Trend, redis_url: str, topic: KafkaTopicUnderTest
) -> None:
    good = some_events(10, now_us())
    topic.publish(good)
    for value in (b"{", None, b"[]", b'{"user_id": 1}', b"\xff\xfe"):
        topic.add(2, value)
    topic.flush()
    await run_once(trend, redis_url)
    await trend.check_recount(good)
    letters = DeadLetters(trend.connection, PartitionKeys(APP, "ratings", 2))
    reasons = [letter.reason for letter in reversed(await letters.newest(10))]
    assert reasons == [
        "the event is no JSON",
        "the event is empty",
        "the event is no JSON object",
        "movie_id is missing",
        "the event is no JSON",
    ]
    [_, one, *_] = await letters.newest(10)
    plan = await trend.registry.live_plan()
    assert plan is not None
    stream = plan.application.streams["ratings"]
    await Requeue(trend.connection, APP, "ratings", stream, Settings().stream).put_back(f"2/{one.id}")
    assert await letters.count() == 4
    [status] = await inspection(trend).statuses()
    assert status.lag_events == 1


async def test_source_tells_its_extent_and_goes_on_anywhere(trend: Trend, topic: KafkaTopicUnderTest) -> None:
    for number in range(50):
        topic.add(0, b"%d" % number)
    topic.flush()
    source = await KafkaSource.open(KafkaTopic(servers=topic.servers, topic=topic.topic), 0, {})
    identity = await source.identify(None)
    assert len(identity) == 16
    assert await source.identify(LastRead(identity, 3)) == identity
    extent = await source.extent()
    assert (extent.oldest, extent.newest, extent.held, extent.added) == (0, 49, 50, 50)
    last = LastRead(identity, 9, 10)
    assert lag_of(extent, last) == 40
    found = await source.read(BEGINNING, 10, 5)
    while found.count < 1:
        found = await source.read(BEGINNING, 10, 5)
    again = await source.read(29, 5, 5)
    while again.count < 1:
        again = await source.read(29, 5, 5)
    assert again.positions[0] == 30
    assert again.payloads[0] == b"30"
    assert await source.rewound(LastRead(identity, 40, 41, now_us() // 1000), 0) == 40
    assert await source.rewound(LastRead(identity, 40, 41, now_us() // 1000), 3_600) <= 40
    await source.aclose()
    await source.aclose()


async def test_source_is_at_its_end_when_nothing_came_since_the_client_met_it(
    trend: Trend, topic: KafkaTopicUnderTest
) -> None:
    topic.add(0, b"0")
    topic.flush()
    source = await KafkaSource.open(KafkaTopic(servers=topic.servers, topic=topic.topic), 0, {})
    read = await source.read(BEGINNING, 1, 0.2)
    while not read.at_end:
        read = await source.read(0 if read.count else BEGINNING, 1, 0.2)
    assert (await source.read(0, 1, 0.01)).at_end
    topic.add(0, b"1")
    topic.flush()
    while not read.count:  # The client may have met the end behind the first one again.
        read = await source.read(0, 1, 0.2)
        assert read.count or not read.at_end
    assert read.payloads == [b"1"]
    await source.aclose()


async def test_end_that_was_met_before_more_came_is_none_when_it_is_told_late(
    trend: Trend, topic: KafkaTopicUnderTest
) -> None:
    topic.add(0, b"0")
    topic.flush()
    source = await KafkaSource.open(KafkaTopic(servers=topic.servers, topic=topic.topic), 0, {})
    while not (await source.read(BEGINNING, 1, 0.2)).count:
        pass
    await asyncio.sleep(0.3)  # The client meets the end meanwhile.
    topic.add(0, b"1")
    topic.flush()
    read = await source.read(0, 1, 0.2)
    while not read.count:
        assert not read.at_end
        read = await source.read(0, 1, 0.2)
    assert read.payloads == [b"1"]
    await source.aclose()


async def test_events_arrive_when_they_are_published_to_kafka(
    trend: Trend, redis_url: str, topic: KafkaTopicUnderTest
) -> None:
    events = some_events(60, now_us())
    plan = await trend.registry.live_plan()
    assert plan is not None
    stream, settings = plan.application.streams["ratings"], Settings().stream
    assert await partition_count(stream, settings) == PARTITIONS
    destination = await open_destination(stream, APP, trend.connection, settings)

    async def chunks() -> AsyncIterator[Sequence[Event]]:
        yield events[:30]
        yield events[30:]

    told: list[int] = []
    count = await publish(chunks(), destination, stream, Pace(), SystemClock(), told.append)
    assert (count, told) == (60, [30, 60])
    await run_once(trend, redis_url)
    await trend.check_recount(events)


@pytest.mark.slow
async def test_stream_says_what_is_wrong_when_there_are_no_brokers(trend: Trend, redis_url: str) -> None:
    kafka = "kafka: {servers: '127.0.0.1:1', topic: ratings}"
    await trend.apply(YAML.replace("redis: {stream: ratings, partitions: 4}", kafka))
    with pytest.raises(Unavailable, match="Kafka"):
        await worker_of(trend, redis_url).run(asyncio.Event())
    [status] = await inspection(trend).statuses()
    assert "Kafka" in status.problem
