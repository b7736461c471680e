"""Dead letters put back: their events onto the stream again, behind its end, and the letters removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from forebay.errors import InvalidRequest, NotFound

from jobs.stream.dead_letters import DeadLetter, DeadLetters
from jobs.stream.partitions import PartitionKeys, events_key
from jobs.stream.publishing import open_destination
from registry.definitions import Stream
from runtime.redis_connection import RedisConnection
from runtime.stream_settings import StreamSettings


class Requeue:
    """Puts back dead letters of one declared stream. Raises: what the connection and the source do."""

    def __init__(
        self, connection: RedisConnection, app: str, name: str, stream: Stream, settings: StreamSettings
    ) -> None:
        self._connection = connection
        self._app = app
        self._name = name
        self._stream = stream
        self._settings = settings

    async def put_back(self, letter: str) -> None:
        """Put back the letter `PARTITION/ID`, whole as it came.

        Raises: InvalidRequest for another form of name, and for an event that was cut; NotFound.
        """
        partition, _, name = letter.partition("/")
        if not partition.isdecimal() or not name:
            raise InvalidRequest(f"a letter is named PARTITION/ID, as in 0/1700000000000-0, not {letter!r}")
        letters = DeadLetters(self._connection, PartitionKeys(self._app, self._name, int(partition)))
        found = await letters.find(name)
        if found is None:
            raise NotFound(f"stream {self._name} has no dead letter {letter}")
        if found.is_cut:
            raise InvalidRequest(f"dead letter {letter} was cut when it was kept: publish its event again")
        await self._publish(found)
        await letters.remove(name)

    async def _publish(self, letter: DeadLetter) -> None:
        if self._stream.redis is not None:
            key = events_key(self._app, self._stream.redis.stream, letter.partition)
            await self._connection.execute("XADD", key, "*", *letter.event)
            return
        event: Mapping[str, Any] = json.loads(letter.event[0])
        destination = await open_destination(self._stream, self._app, self._connection, self._settings)
        await destination.put([(str(event.get(self._stream.partition_by, "")), event)])
