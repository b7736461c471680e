"""Kafka brokers for tests: those that librdkafka plays in this process, or the real ones that
FOREBAY_TEST_KAFKA names."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import Producer

from jobs.stream.partitions import partition_of
from tests.support.trend_application import Event

PARTITIONS = 4
"""Of a topic that the played brokers make when it is first asked for."""


@dataclass
class KafkaTopicUnderTest:
    """A new topic and a producer for it. The brokers live as long as this does."""

    servers: str = field(init=False)
    topic: str = field(init=False)

    def __post_init__(self) -> None:
        real = os.environ.get("FOREBAY_TEST_KAFKA", "")
        brokers = {"bootstrap.servers": real} if real else {"test.mock.num.brokers": 1}
        self._producer = Producer({**brokers, "log_level": 0})
        self.topic = f"ratings-{secrets.token_hex(4)}"
        found = self._producer.list_topics(timeout=10)
        self.servers = real or ",".join(f"{one.host}:{one.port}" for one in found.brokers.values())
        self._producer.list_topics(self.topic, timeout=10)  # makes it

    def publish(self, events: Iterable[Event]) -> None:
        """Put events where they belong."""
        for event in events:
            self.add(partition_of(str(event["user_id"]), PARTITIONS), json.dumps(event).encode())
        self.flush()

    def add(self, partition: int, value: bytes | None) -> None:
        """Put one message on a partition."""
        self._producer.produce(self.topic, value, b"key", partition)

    def flush(self) -> None:
        """Wait until the brokers have all."""
        assert self._producer.flush(20) == 0
