"""A partition of a Kafka topic: assigned, not subscribed; where to go on is in our own checkpoint. Kafka's
client blocks, so its calls are made in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from forebay.errors import NotUsable, Unavailable

from jobs.stream.partitions import partition_of
from jobs.stream.source import BEGINNING, Entries, EventFormat, Extent, LastRead
from registry.definitions import KafkaTopic

Result = TypeVar("Result")

_TIMEOUT_S = 5.0
_DELIVERY_S = 30.0
_CONSUMER = {
    "group.id": "forebay",  # demanded by the library; nothing is committed and no group is joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 50,
    "isolation.level": "read_committed",
}
_NO_POSITIONS = np.empty(0, np.int64)
_REWOUND_BLINDLY = 10_000
"""Entries that are read again where the broker can't tell which came in the window."""
_PLAYED = "mockCluster"
"""How the ids of clusters begin that librdkafka only plays, for tests: their topics have no ids."""
_REFUSED = {
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}


class KafkaSource:
    """An EventSource with a consumer of its own. Its entries' payloads are the messages' values, bytes or
    None."""

    format: EventFormat = "json"

    def __init__(self, consumer: Consumer, topic: str, partition: int, identity: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partition = partition
        self._identity = identity
        self._next: int | None = None
        self._end: int | None = None
        self._closed = False
        self._threads = ThreadPoolExecutor(2, "kafka")  # to read, and meanwhile to ask

    @classmethod
    async def open(cls, topic: KafkaTopic, partition: int, options: Mapping[str, str]) -> KafkaSource:
        """Return the source of one partition. Raises: Unavailable; NotUsable."""
        identity = await _called(_identity, topic, options)
        consumer = Consumer({**_client(topic, options), **_CONSUMER})
        return cls(consumer, topic.topic, partition, identity)

    async def identify(self, last: LastRead | None) -> str:
        """The cluster's and the topic's id, so that a topic that was made anew is another one."""
        return self._identity

    async def extent(self) -> Extent:
        """One request for the partition's bounds."""
        oldest, end = await self._called(
            self._consumer.get_watermark_offsets, self._place(), timeout=_TIMEOUT_S, cached=False
        )
        return Extent(oldest, end - 1, end - oldest, end)

    async def read(self, after: int, count: int, wait_s: float) -> Entries:
        """What the client has fetched, or will within `wait_s`. The client tells once where the end was, at
        some time; whether it is there still, the brokers are asked: one request where no more is at hand.
        """
        if self._next != after + 1:
            await self._seek(after + 1)
        messages, end = await self._called(self._fetched, count, wait_s)
        if messages or end is not None:
            self._end = end
        at_end = self._end is not None and (await self.extent()).newest < self._end
        if not messages:
            return Entries(_NO_POSITIONS, (), 0, at_end)
        positions = np.fromiter((message.offset() for message in messages), np.int64, len(messages))
        self._next = int(positions[-1]) + 1
        payloads = [message.value() for message in messages]
        kind, published_ms = messages[-1].timestamp()
        return Entries(positions, payloads, max(0, published_ms) if kind else 0, at_end)

    async def rewound(self, last: LastRead, window_s: float) -> int:
        """By the broker's index of times."""
        if last.position == BEGINNING or window_s <= 0:
            return last.position
        blindly = max(BEGINNING, last.position - _REWOUND_BLINDLY)
        since_ms = last.published_ms - round(window_s * 1000)
        if since_ms <= 0:
            return blindly
        found = await self._called(
            self._consumer.offsets_for_times, [self._place(since_ms)], timeout=_TIMEOUT_S
        )
        if found[0].error is not None or found[0].offset < 0:
            return blindly
        return max(BEGINNING, min(last.position, found[0].offset - 1))

    async def aclose(self) -> None:
        """Leave the brokers."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._consumer.close)
            self._threads.shutdown(wait=False)

    async def _called(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        return await _called(function, *args, threads=self._threads, **kwargs)

    async def _seek(self, offset: int) -> None:
        oldest = (await self.extent()).oldest
        self._next, self._end = max(offset, oldest), None
        await self._called(self._consumer.assign, [self._place(self._next)])

    def _fetched(self, count: int, wait_s: float) -> tuple[list[Message], int | None]:
        """Return messages, and the offset at which the client last met the end, if it did."""
        first = self._consumer.poll(wait_s)
        found = [] if first is None else [first]
        if first is not None and first.error() is None and count > 1:
            found += self._consumer.consume(count - 1, 0)
        end: int | None = None
        for message in found:
            error = message.error()
            if error is None:
                continue
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            end = message.offset()
        return [message for message in found if message.error() is None], end

    def _place(self, offset: int = -1) -> TopicPartition:
        return TopicPartition(self._topic, self._partition, offset)


class KafkaDestination:
    """A topic to put events on; their key is the text of their `partition_by`, so that compaction and other
    readers know it."""

    def __init__(self, topic: KafkaTopic, partitions: int, options: Mapping[str, str]) -> None:
        self._producer = Producer({**_client(topic, options), "enable.idempotence": True})
        self._topic = topic.topic
        self._partitions = partitions

    async def put(self, events: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Wait until the brokers have them. Raises: Unavailable."""
        failures: list[str] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        def produced() -> int:
            for text, event in events:
                value = json.dumps(event).encode()
                partition = partition_of(text, self._partitions)
                self._producer.produce(self._topic, value, text.encode(), partition, on_delivery=delivered)
            return self._producer.flush(_DELIVERY_S)

        left = await _called(produced)
        if left or failures:
            why = failures[0] if failures else f"{left} events weren't taken in {_DELIVERY_S:g} s"
            raise Unavailable(f"Kafka: {why}")

    async def aclose(self) -> None:
        """Nothing is under way."""


def partition_count(topic: KafkaTopic, options: Mapping[str, str]) -> int:
    """Return how many partitions a topic has. Raises: Unavailable; NotUsable where there is no such topic."""
    metadata = _metadata(topic, options)
    return len(metadata.topics[topic.topic].partitions)


def _identity(topic: KafkaTopic, options: Mapping[str, str]) -> str:
    """Return 16 hexadecimal digits of the cluster's id and the topic's. Never of less: who takes a topic for
    another counts its events again."""
    admin = AdminClient(_client(topic, options))
    cluster = _metadata(topic, options, admin).cluster_id
    topic_id = ""
    if not cluster.startswith(_PLAYED):
        described = admin.describe_topics(TopicCollection([topic.topic]), request_timeout=_TIMEOUT_S)
        topic_id = str(described[topic.topic].result().topic_id)
    text = f"{cluster}\n{topic.topic}\n{topic_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _metadata(topic: KafkaTopic, options: Mapping[str, str], admin: AdminClient | None = None) -> Any:
    try:
        metadata = (admin or AdminClient(_client(topic, options))).list_topics(
            topic.topic, timeout=_TIMEOUT_S
        )
    except KafkaException as error:
        raise _translated(error) from error
    found = metadata.topics.get(topic.topic)
    problem = None if found is None else found.error
    if found is None or problem is not None:
        why = "" if problem is None else f": {problem.str()}"
        raise NotUsable(f"Kafka at {topic.servers} has no topic {topic.topic}{why}")
    return metadata


def _client(topic: KafkaTopic, options: Mapping[str, str]) -> dict[str, Any]:
    return {"bootstrap.servers": topic.servers, "log_level": 3, **options}


async def _called(
    function: Callable[..., Result], *args: Any, threads: ThreadPoolExecutor | None = None, **kwargs: Any
) -> Result:
    """Return what a blocking call of the client returns, made in a thread. Raises: Unavailable; NotUsable."""
    call = partial(function, *args, **kwargs)
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, call)
    except KafkaException as error:
        raise _translated(error) from error
    except RuntimeError as error:
        raise Unavailable(f"the Kafka client is closed: {error}") from error


def _translated(error: KafkaException) -> NotUsable | Unavailable:
    cause = error.args[0]
    kind = NotUsable if cause.code() in _REFUSED else Unavailable
    return kind(f"Kafka: {cause.str()}")
