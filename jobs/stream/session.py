"""What a partition is read and applied with, from one opening to the first failure. Nothing of it comes back
when it is lost: after a failover of the store, what was applied a moment ago may not be there, and only a new
beginning at the stored checkpoint finds that out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from feature_store.redis_store import RedisStore
from feature_store.store import OnlineStore
from jobs.stream.checkpoints import Checkpoints
from jobs.stream.dead_letters import DeadLetters
from jobs.stream.event_sources import open_source
from jobs.stream.partitions import PartitionKeys
from jobs.stream.source import EventSource
from registry.definitions import Stream
from registry.watermarks import Watermarks
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """One partition's source, and the store that its events go to."""

    source: EventSource
    store: OnlineStore
    checkpoints: Checkpoints
    letters: DeadLetters
    watermarks: Watermarks


class Sessions:
    """Opens sessions of an application's partitions."""

    def __init__(self, settings: Settings, redis_url: str, app: str, clock: Clock) -> None:
        self.settings = settings
        self.app = app
        self.clock = clock
        self._redis_url = redis_url

    @asynccontextmanager
    async def open(self, name: str, stream: Stream, partition: int) -> AsyncIterator[Session]:
        """Give a session of one partition of the declared stream `name`.

        Raises: Unavailable, NotUsable, InvalidRequest where the store or the source can't be reached or used.
        """
        async with AsyncExitStack() as stack:
            connection = await self._entered(stack)
            reading = await self._entered(stack) if stream.redis is not None else connection
            source = await open_source(stream, self.app, partition, reading, connection, self.settings.stream)
            stack.push_async_callback(source.aclose)
            keys = PartitionKeys(self.app, name, partition)
            yield Session(
                source,
                RedisStore(connection, self.settings.feature_store),
                Checkpoints(connection, keys),
                DeadLetters(connection, keys),
                Watermarks(connection, self.app),
            )

    async def connect(self) -> RedisConnection:
        """Return a connection to the store that doesn't come back when it is lost. Raises: as `open`."""
        return await RedisConnection.connect(self._redis_url, self.settings.redis, self.clock, lasting=False)

    async def _entered(self, stack: AsyncExitStack) -> RedisConnection:
        connection = await self.connect()
        stack.push_async_callback(connection.aclose)
        return connection
