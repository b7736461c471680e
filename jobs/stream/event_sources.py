"""Which source a declared stream is. Kafka's is imported where a stream asks for it: it is an extra."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from forebay.errors import NotUsable

from jobs.stream.partitions import events_key, life_key
from jobs.stream.redis_source import RedisSource
from jobs.stream.source import EventSource
from registry.definitions import Stream
from runtime.redis_connection import RedisConnection
from runtime.stream_settings import StreamSettings


async def open_source(
    stream: Stream,
    app: str,
    partition: int,
    reading: RedisConnection,
    asking: RedisConnection,
    settings: StreamSettings,
) -> EventSource:
    """Return the source of one partition; a Redis one takes over `reading`. Raises: Unavailable;
    NotUsable."""
    if stream.redis is not None:
        name = stream.redis.stream
        return RedisSource(reading, asking, events_key(app, name, partition), life_key(app, name, partition))
    source: EventSource = await kafka().KafkaSource.open(stream.kafka, partition, settings.kafka_options)
    return source


async def partition_count(stream: Stream, settings: StreamSettings) -> int:
    """Return how many partitions a stream has. Raises: Unavailable; NotUsable, as where a topic isn't
    there."""
    if stream.redis is not None:
        return stream.redis.partitions
    count: int = await asyncio.to_thread(kafka().partition_count, stream.kafka, settings.kafka_options)
    return count


def kafka() -> Any:
    """Return the module of the Kafka source. Raises: NotUsable where its extra isn't installed."""
    try:
        return importlib.import_module("jobs.stream.kafka_source")
    except ModuleNotFoundError as error:
        raise NotUsable(
            f"Kafka streams need the package {error.name}: pip install 'forebay-server[kafka]'"
        ) from error
