"""Which entities a generation holds: the list of key texts that a refresh writes beside the rows, so that an
old generation can be removed, and an index built from what is served, without a scan of the store.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator, Sequence

from registry.records import Keys
from runtime.redis_connection import RedisConnection, RedisReplyError

_SEPARATOR = "{"  # never part of a key's text, which escapes braces
_FASTEST = 1


class GenerationKeys:
    """The key lists of one view's generations, in Redis beside the registry; also those of the versions of
    what is precomputed for a pipeline.

    `forebay:{app}:generations:<of>` is the set of generations that may have rows, and
    `forebay:{app}:generations:<of>:<generation>` a list of compressed chunks of texts; `of` is a view's id,
    or `precomputed/<pipeline>`. The braces are a cluster's hash tag, as in the registry's own keys.
    """

    def __init__(self, connection: RedisConnection, app: str, of: int | str) -> None:
        self.app = app
        self._connection = connection
        self._generations = Keys(app).stored_generations(of)
        self._deleted_prefix = f"{Keys(app).deleted_prefix}:{of}"

    async def add(self, generation: int, chunk: bytes) -> None:
        """Note a packed chunk of texts. Done before its rows are written, so that a job that is killed leaves
        no row that nobody can find.
        """
        replies = await self._connection.execute_many(
            [
                ["SADD", self._generations, generation],
                ["RPUSH", self._list(generation), chunk],
            ]
        )
        _raise_first(replies)

    async def generations(self) -> list[int]:
        """Return the generations that may have rows, ascending."""
        members = await self._connection.execute("SMEMBERS", self._generations)
        return sorted(int(member) for member in members)

    async def chunks(self, generation: int, start: int = 0) -> AsyncIterator[list[str]]:
        """Yield the texts of a generation, chunk by chunk, in the order they were noted, from `start` on."""
        count = await self._connection.execute("LLEN", self._list(generation))
        for position in range(start, count):
            chunk = await self._connection.execute("LINDEX", self._list(generation), position)
            if chunk is None:
                return  # swept meanwhile
            yield _unpacked(chunk)

    async def digests(self, generation: int) -> list[bytes]:
        """Return what tells the noted chunks apart, in order. Cost: reads the list."""
        count = await self._connection.execute("LLEN", self._list(generation))
        found: list[bytes] = []
        for position in range(count):
            chunk = await self._connection.execute("LINDEX", self._list(generation), position)
            if chunk is None:
                break
            found.append(digest(chunk))
        return found

    async def trim(self, generation: int, kept: int) -> None:
        """Forget all chunks but the first `kept`."""
        if kept:
            await self._connection.execute("LTRIM", self._list(generation), 0, kept - 1)
        else:
            await self._connection.execute("UNLINK", self._list(generation))

    async def count(self, generation: int) -> int:
        """Return how many texts a generation's list holds. Cost: reads the list."""
        return sum([len(texts) async for texts in self.chunks(generation)])

    async def forget(self, generation: int) -> None:
        """Remove a generation's list, once its rows are gone."""
        replies = await self._connection.execute_many(
            [
                ["UNLINK", self._list(generation)],
                ["UNLINK", f"{self._deleted_prefix}:{generation}"],
                ["SREM", self._generations, generation],
            ]
        )
        _raise_first(replies)

    def _list(self, generation: int) -> str:
        return f"{self._generations}:{generation}"


def packed(texts: Sequence[str]) -> bytes:
    """Return texts as a list holds them: about two bytes each where they are integers in order."""
    return zlib.compress(_SEPARATOR.join(texts).encode(), _FASTEST)


def digest(chunk: bytes) -> bytes:
    """Return what tells a packed chunk of texts from another, 16 bytes."""
    return hashlib.blake2b(chunk, digest_size=16).digest()


def _unpacked(chunk: bytes) -> list[str]:
    return zlib.decompress(chunk).decode().split(_SEPARATOR)


def _raise_first(replies: Sequence[object]) -> None:
    for reply in replies:
        if isinstance(reply, RedisReplyError):
            raise reply.translated()
