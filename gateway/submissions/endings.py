"""Hears which predictions ended, for everybody in this process who waits for some: one reader, one
connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

from forebay.errors import Error

from gateway.submissions.keys import Keys
from gateway.submissions.scripts import milliseconds
from runtime.redis_connection import RedisConnection, RedisReplyError

logger = logging.getLogger(__name__)

_READ_AT_ONCE = 1_000
_IDLE_READS = 30
"""After so many reads without anybody who waits the reader ends; the next who waits starts it again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class Listener:
    """Somebody who waits for predictions to end. A context: outside it nothing is heard, and nothing is kept.

    What it hears is a reason to look the prediction up, not its result: everybody is told of everything when
    the reader starts or has lost touch.
    """

    def __init__(self, endings: Endings, prediction_ids: Iterable[str]) -> None:
        self._endings = endings
        self._awaited = set(prediction_ids)
        self._heard: set[str] = set()
        self._told = asyncio.Event()

    def __enter__(self) -> Listener:
        self._endings.add(self, self._awaited)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._endings.remove(self, self._awaited)

    def tell(self, prediction_id: str) -> None:
        """Take note that a prediction may have ended."""
        self._heard.add(prediction_id)
        self._told.set()

    def tell_all(self) -> None:
        """Take note that any may have ended."""
        self._heard |= self._awaited
        self._told.set()

    async def heard(self, wait_s: float) -> set[str]:
        """Return which predictions may have ended since the last time; none after `wait_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._told.wait()
        self._told.clear()
        heard, self._heard = self._heard, set()
        return heard


class Endings:
    """Follows the stream of endings while somebody waits, and for a while after.

    `connect` makes a connection of its own for a call that waits at the server. `wait_s` is how long that
    call may wait: less than the silence after which the connection counts as lost.
    """

    def __init__(self, connect: Callable[[], RedisConnection], app: str, wait_s: float) -> None:
        self._connect = connect
        self._key = Keys(app).endings
        self._wait_s = wait_s
        self._connection: RedisConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._listeners: dict[str, set[Listener]] = {}

    def listen(self, prediction_ids: Iterable[str]) -> Listener:
        """Return a listener for these predictions. Look them up once inside it: what ended before isn't
        told."""
        return Listener(self, prediction_ids)

    @property
    def awaited_count(self) -> int:
        """How many predictions somebody waits for."""
        return len(self._listeners)

    def add(self, listener: Listener, prediction_ids: Iterable[str]) -> None:
        """Begin to tell a listener; `Listener` calls it."""
        for prediction_id in prediction_ids:
            self._listeners.setdefault(prediction_id, set()).add(listener)
        if self._listeners and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read(), name="endings of predictions")

    def remove(self, listener: Listener, prediction_ids: Iterable[str]) -> None:
        """Tell a listener no more; `Listener` calls it."""
        for prediction_id in prediction_ids:
            listeners = self._listeners[prediction_id]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[prediction_id]

    def tell_all(self) -> None:
        """Let everybody who waits look."""
        for listener in {listener for listeners in self._listeners.values() for listener in listeners}:
            listener.tell_all()

    async def aclose(self) -> None:
        """End the reader. Who waits still looks by itself."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._connection is not None:
            await self._connection.aclose()

    async def _read(self) -> None:
        """Follow the endings. A failure moves the position to the stream's end and lets everybody look: what
        was missed in between, even by a store that lost its data, is found."""
        if self._connection is None:
            self._connection = self._connect()
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                position = await self._newest(self._connection)
                self.tell_all()
                if pause_s > _FIRST_PAUSE_S:
                    logger.info("the endings of predictions can be read again")
                pause_s = _FIRST_PAUSE_S
                await self._follow(self._connection, position)
                self._reader = None
                return
            except (Error, RedisReplyError) as error:
                if pause_s == _FIRST_PAUSE_S:
                    logger.warning("the endings of predictions can't be read: %s", error)
                self.tell_all()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _follow(self, connection: RedisConnection, position: bytes) -> None:
        """Tell what ends after `position`; return when nobody has waited for a while."""
        block = ("BLOCK", milliseconds(self._wait_s))
        idle_reads = 0
        while idle_reads < _IDLE_READS or self._listeners:
            idle_reads = 0 if self._listeners else idle_reads + 1
            where = ("STREAMS", self._key, position)
            reply = await connection.execute("XREAD", "COUNT", _READ_AT_ONCE, *block, *where)
            for entry, fields in reply[0][1] if reply else ():
                position = entry
                self._tell(fields[1].decode())

    async def _newest(self, connection: RedisConnection) -> bytes:
        found: list[Any] = await connection.execute("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        return bytes(found[0][0]) if found else b"0-0"

    def _tell(self, prediction_id: str) -> None:
        for listener in self._listeners.get(prediction_id, ()):
            listener.tell(prediction_id)
