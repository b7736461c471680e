"""A partition in a Redis Stream: one key, read by id with XREAD, without consumer groups."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forebay.errors import NotUsable

from jobs.stream.entry_ids import entry_id, milliseconds_of, position_at, position_of, positions_of
from jobs.stream.source import BEGINNING, EMPTY, Entries, EventFormat, Extent, LastRead
from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript

_RENEW = RedisScript((Path(__file__).parent / "lua" / "renew_life.lua").read_text())
_NO_ENTRIES = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class _Info:
    """What XINFO STREAM says, as positions."""

    extent: Extent
    newest_deleted: int


class RedisSource:
    """An EventSource that reads on a connection of its own, which it takes over, since reads block it; all
    else it asks on one that it shares."""

    format: EventFormat = "fields"

    def __init__(
        self, reading: RedisConnection, asking: RedisConnection, events_key: str, life_key: str
    ) -> None:
        self._reading = reading
        self._connection = asking
        self._events = events_key
        self._life = life_key

    async def identify(self, last: LastRead | None) -> str:
        """The stream is the one that was read if the last entry read is there, or was trimmed or deleted.

        One that was removed and began again behind that entry goes on, too: its positions only grew. One that
        holds something else there, or ends before, is another, and gets another name.
        """
        life = await self._current_life(secrets.token_hex(8) if last is None else last.incarnation)
        if last is None or last.incarnation != life or last.position == BEGINNING:
            return life
        if await self._continues(last):
            return life
        renewed = await self._call_script(_RENEW, [self._life], [life, secrets.token_hex(8)])
        return _text(renewed)

    async def extent(self) -> Extent:
        """One XINFO."""
        return (await self._info()).extent

    async def read(self, after: int, count: int, wait_s: float) -> Entries:
        """One XREAD, which waits at the server."""
        start = entry_id(after) if after >= 0 else b"0-0"
        block = ("BLOCK", max(1, round(wait_s * 1000))) if wait_s > 0 else ()
        command = ("XREAD", "COUNT", count, *block, "STREAMS", self._events, start)
        reply = await self._call(*command, on=self._reading)
        found: list[Any] = reply[0][1] if reply else []
        if not found:
            return Entries(_NO_ENTRIES, (), 0, at_end=True)
        positions = positions_of([entry[0] for entry in found])
        payloads = [entry[1] for entry in found]
        return Entries(positions, payloads, milliseconds_of(int(positions[-1])), at_end=len(found) < count)

    async def rewound(self, last: LastRead, window_s: float) -> int:
        """By the milliseconds of the ids; nothing is asked."""
        if last.position == BEGINNING or window_s <= 0:
            return last.position
        at = position_at(milliseconds_of(last.position) - round(window_s * 1000))
        return max(BEGINNING, min(last.position, at))

    async def aclose(self) -> None:
        """Close the connection that it took over."""
        await self._reading.aclose()

    async def _current_life(self, new: str) -> str:
        await self._call("SET", self._life, new, "NX")
        return _text(await self._call("GET", self._life))

    async def _continues(self, last: LastRead) -> bool:
        info = await self._info()
        if info.extent.newest < last.position:
            return False
        if info.extent.held == 0 or info.extent.oldest > last.position:
            return True  # trimmed
        if info.newest_deleted >= last.position:
            return True
        name = entry_id(last.position)
        return bool(await self._call("XRANGE", self._events, name, name))

    async def _info(self) -> _Info:
        try:
            reply = await self._call("XINFO", "STREAM", self._events)
        except NotUsable as error:
            if "no such key" in error.message:
                return _Info(EMPTY, BEGINNING)
            raise
        facts = dict(zip(reply[::2], reply[1::2], strict=True))
        held, newest = int(facts[b"length"]), position_of(facts[b"last-generated-id"])
        if b"entries-added" not in facts:
            raise NotUsable(
                "streams need Redis 7.0 or newer, or Valkey: this server doesn't count a stream's entries"
            )
        oldest = position_of(facts[b"recorded-first-entry-id"]) if held else newest + 1
        extent = Extent(oldest, newest, held, int(facts[b"entries-added"]))
        return _Info(extent, position_of(facts[b"max-deleted-entry-id"]))

    async def _call(self, *command: bytes | str | int, on: RedisConnection | None = None) -> Any:
        try:
            return await (on or self._connection).execute(*command)
        except RedisReplyError as error:
            raise _refused(error, self._events) from error

    async def _call_script(self, script: RedisScript, keys: Sequence[str], args: Sequence[str]) -> Any:
        try:
            return await self._connection.eval_script(script, keys, args)
        except RedisReplyError as error:
            raise _refused(error, self._events) from error


def _refused(error: RedisReplyError, key: str) -> NotUsable:
    if error.code == "WRONGTYPE":
        return NotUsable(f"{key} is no Redis Stream: its events are added with XADD")
    return NotUsable(f"the Redis Stream {key} can't be read: {error}")


def _text(reply: Any) -> str:
    if not isinstance(reply, bytes):
        raise NotUsable("the name of a stream's incarnation was removed while it was looked up")
    return reply.decode()
