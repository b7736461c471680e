"""Where a stream's partitions lie: the names of their keys, and which partition a key's events go to.

    forebay:{APP:STREAM:P}:events      the Redis Stream that producers XADD to; STREAM as in `redis:
    {stream:}` forebay:{APP:STREAM:P}:life        which incarnation of it this is
    forebay:{APP:NAME:P}:checkpoint    hash: how far partition P of the declared stream NAME is applied
    forebay:{APP:NAME:P}:lease         who reads it; expires with its process forebay:{APP:NAME:P}:letters
    Redis Stream of its dead letters
    forebay:{APP:NAME:P}:refused       sorted set: the positions of those

The braces are a cluster's hash tag: a partition lies on one node, with what is known about it, so that a
failover takes the end of both or of neither.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from registry.definitions import Stream

KAFKA_PARTITIONS_UNKNOWN = 0


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one partition of a declared stream."""

    app: str
    stream: str
    partition: int

    @property
    def checkpoint(self) -> str:
        return f"{self._tag}:checkpoint"

    @property
    def lease(self) -> str:
        return f"{self._tag}:lease"

    @property
    def letters(self) -> str:
        return f"{self._tag}:letters"

    @property
    def refused(self) -> str:
        return f"{self._tag}:refused"

    @property
    def _tag(self) -> str:
        return f"forebay:{{{self.app}:{self.stream}:{self.partition}}}"


def events_key(app: str, redis_stream: str, partition: int) -> str:
    """Return the key of the Redis Stream that holds one partition's events."""
    return f"forebay:{{{app}:{redis_stream}:{partition}}}:events"


def life_key(app: str, redis_stream: str, partition: int) -> str:
    """Return the key beside a Redis Stream that tells its incarnation."""
    return f"forebay:{{{app}:{redis_stream}:{partition}}}:life"


def workers_key(app: str, stream: str) -> str:
    """Return the key of the sorted set of a stream's workers, by when they are given up."""
    return f"forebay:{{{app}:{stream}}}:workers"


def partition_of(text: str, partitions: int) -> int:
    """Return the partition of an event by its key's canonical text: CRC-32 (zlib's, IEEE 802.3) of the UTF-8
    bytes, modulo the number of partitions.

    Producers should keep to it, so that events of one key stay in order; nothing is counted wrong if they
    don't.
    """
    return zlib.crc32(text.encode()) % partitions


def partitions_of(texts: Sequence[str], partitions: int) -> list[int]:
    """Return the partition of each key."""
    return [zlib.crc32(text.encode()) % partitions for text in texts]


def described(stream: Stream) -> str:
    """Return what a declared stream is, for people."""
    if stream.redis is not None:
        return f"Redis stream {stream.redis.stream}"
    return "" if stream.kafka is None else f"Kafka topic {stream.kafka.topic}"
