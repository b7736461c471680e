"""The online store in Redis or Valkey: a row is one string. lua/put_newest.lua orders writes, lua/bury.lua
deletions among them, lua/apply_events.lua brings events into rows of tiles; script_calls.py sends them; the
connection is runtime/redis_connection's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forebay.deadline import NEVER, Deadline
from forebay.errors import InvalidRequest, NotUsable, Unavailable
from numpy.typing import NDArray

from feature_store.row_header import is_storable, pack_tombstone
from feature_store.script_calls import eval_rows
from feature_store.store import UNREAD
from feature_store.types import Outcome
from feature_store.windows.events import EventBlock
from feature_store.windows.ring_row import RingForm
from feature_store.windows.row_events import row_events, script_arguments
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript

_PUT_NEWEST = RedisScript((Path(__file__).parent / "lua" / "put_newest.lua").read_text())
_BURY = RedisScript((Path(__file__).parent / "lua" / "bury.lua").read_text())
APPLY_EVENTS = RedisScript((Path(__file__).parent / "lua" / "apply_events.lua").read_text())
CHUNK_EVENTS = 500
"""Events of one script, or one row's: they hold the server for some two milliseconds."""
_CHUNK_BYTES = 1 << 20
"""Rows of one command, whatever their number: a chunk of long rows mustn't hold the server."""
_CHUNKS_IN_FLIGHT = 2
"""While the server stores one chunk the client packs the next; measured, a third gains nothing."""


class RedisStore:
    """An OnlineStore on one connection, which it takes over: `aclose` closes it. The connection may be to a
    cluster: then what one command did is done by a pipeline per node.

    A key that holds something else than a string (another program's) reads as no row and is replaced by a
    write. A server that refuses us (credentials, rights, memory) is Unavailable, with the reason.
    """

    def __init__(self, connection: RedisConnection, settings: FeatureStoreSettings | None = None) -> None:
        self._connection = connection
        self._settings = settings or FeatureStoreSettings()

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        """One MGET, a longer list in several, still in one round trip; on a cluster a GET per row."""
        if not keys:
            return []
        try:
            return await self._connection.get_rows(keys, self._settings.read_chunk_rows, UNREAD, deadline)
        except (RedisReplyError, NotUsable, InvalidRequest) as error:
            raise _refused(error) from error

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        """One script per chunk, each after the last: rows that share a key are taken in order even where the
        server has forgotten the script and a chunk must be sent again.
        """
        _check_lengths(keys, rows)
        outcomes = np.full(len(rows), Outcome.INVALID, np.uint8)
        places = [place for place, row in enumerate(rows) if is_storable(row)]
        if len(places) < len(rows):
            keys, rows = [keys[place] for place in places], [rows[place] for place in places]
        applied = [
            await self._eval(_PUT_NEWEST, keys[span], (), rows[span], deadline)
            for span in _spans(rows, self._settings.write_chunk_rows)
        ]
        outcomes[places] = np.frombuffer(b"".join(applied), np.uint8)
        return outcomes

    async def load_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> None:
        """MSETs, the next packed while the last is stored."""
        _check_lengths(keys, rows)
        spans = _spans(rows, self._settings.load_chunk_rows)
        await _side_by_side(lambda: self._load(keys, rows, spans, deadline))

    async def delete_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> int:
        """UNLINKs: the server frees the memory in the background."""
        chunk_rows = 1 if self._connection.is_cluster else self._settings.load_chunk_rows
        commands = _chunked(b"UNLINK", keys, chunk_rows)
        return sum(await self._execute_many(commands, deadline)) if commands else 0

    async def bury_many(
        self, keys: Sequence[bytes], time_us: int, kept_s: float, deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        """One script per chunk, as `put_many`."""
        tombstone = pack_tombstone(time_us)
        if not kept_s > 0:
            raise ValueError("a tombstone is kept for some time")
        args = [tombstone, b"%d" % math.ceil(kept_s * 1e3)]
        chunk_rows = self._settings.write_chunk_rows
        buried = [
            await self._eval(_BURY, keys[start : start + chunk_rows], args, (), deadline)
            for start in range(0, len(keys), chunk_rows)
        ]
        return np.frombuffer(b"".join(buried), np.uint8)

    async def apply_events(
        self,
        keys: Sequence[bytes],
        events: EventBlock,
        form: RingForm,
        now_us: int,
        kept_s: float,
        deadline: Deadline = NEVER,
    ) -> NDArray[np.uint8]:
        """One script per chunk of rows, two on their way at once: a row is in one of them."""
        shared = script_arguments(form, events, now_us, kept_s)
        rows = row_events(form, keys, events)
        outcomes = np.empty(len(events), np.uint8)
        spans = rows.spans(self._settings.write_chunk_rows, CHUNK_EVENTS)

        async def apply_chunks() -> None:
            for span in spans:
                counts = rows.counts[span].tolist()
                each = rows.packed[span]
                told = await self._eval(APPLY_EVENTS, rows.keys[span], shared, each, deadline, counts)
                places = rows.order[rows.starts[span.start] : rows.starts[span.stop]]
                outcomes[places] = np.frombuffer(told, np.uint8)

        await _side_by_side(apply_chunks)
        return outcomes

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()

    async def _eval(
        self,
        script: RedisScript,
        keys: Sequence[bytes],
        shared: Sequence[bytes],
        each: Sequence[bytes],
        deadline: Deadline,
        counts: Sequence[int] | None = None,
    ) -> bytes:
        try:
            return await eval_rows(self._connection, script, keys, shared, each, deadline, counts)
        except (RedisReplyError, NotUsable, InvalidRequest) as error:
            raise _refused(error) from error

    async def _load(
        self, keys: Sequence[bytes], rows: Sequence[bytes], spans: Iterator[slice], deadline: Deadline
    ) -> None:
        """Send chunks until none is left. Several share `spans`: a chunk is sent as soon as it is taken, so
        that chunks are stored in order.
        """
        for span in spans:
            if self._connection.is_cluster:
                sets = zip(keys[span], rows[span], strict=True)
                await self._execute_many([(b"SET", key, row) for key, row in sets], deadline)
                continue
            pairs = [b""] * (2 * (span.stop - span.start))
            pairs[::2], pairs[1::2] = keys[span], rows[span]
            await self._execute(b"MSET", *pairs, deadline=deadline)

    async def _execute(self, *args: bytes, deadline: Deadline) -> Any:
        try:
            return await self._connection.execute(*args, deadline=deadline)
        except (RedisReplyError, NotUsable, InvalidRequest) as error:
            raise _refused(error) from error

    async def _execute_many(self, commands: Sequence[Sequence[bytes]], deadline: Deadline) -> list[Any]:
        try:
            replies = await self._connection.execute_many(commands, deadline)
        except (NotUsable, InvalidRequest) as error:
            raise _refused(error) from error
        for reply in replies:
            if type(reply) is RedisReplyError:
                raise _refused(reply.translated()) from reply
        return replies


async def _side_by_side(chunks: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what sends chunks, so many at once, until they find none left."""
    try:
        async with asyncio.TaskGroup() as sending:
            for _ in range(_CHUNKS_IN_FLIGHT):
                sending.create_task(chunks())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def _check_lengths(keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
    if len(keys) != len(rows):
        raise ValueError(f"{len(keys)} keys for {len(rows)} rows")


def _refused(error: Exception) -> Unavailable:
    return Unavailable(f"the online store refuses: {error}")


def _chunked(command: bytes, keys: Sequence[bytes], chunk_rows: int) -> list[list[bytes]]:
    starts = range(0, len(keys), chunk_rows)
    return [[command, *keys[start : start + chunk_rows]] for start in starts]


def _spans(rows: Sequence[bytes], chunk_rows: int) -> Iterator[slice]:
    """Yield the parts to send at once: at most `chunk_rows` rows and `_CHUNK_BYTES`, but at least one row."""
    for start in range(0, len(rows), chunk_rows):
        yield from _within_bytes(rows, start, min(start + chunk_rows, len(rows)))


def _within_bytes(rows: Sequence[bytes], start: int, stop: int) -> Iterator[slice]:
    if stop - start == 1 or sum(map(len, rows[start:stop])) <= _CHUNK_BYTES:
        yield slice(start, stop)
        return
    middle = (start + stop) // 2
    yield from _within_bytes(rows, start, middle)
    yield from _within_bytes(rows, middle, stop)
