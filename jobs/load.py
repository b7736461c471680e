"""A view's rows on their way into the store: the next chunk is read and encoded in a thread while the one
before it is being written. `refresh.py` decides what becomes of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from feature_store.store import OnlineStore
from feature_store.types import Outcome
from jobs.generation_keys import GenerationKeys
from jobs.in_thread import in_thread
from jobs.view_rows import EncodedRows
from runtime.redis_connection import RedisConnection

CHUNK_ROWS = 10_000
"""Rows that are read, encoded and written at a time: three chunks at most are in memory."""

Chunk = TypeVar("Chunk")


@dataclass(slots=True)
class Written:
    """What became of the rows so far. `older` and `invalid` only occur where rows are upserted; `resumed` are
    those of the applied that an earlier, killed run had written."""

    applied: int = 0
    older: int = 0
    invalid: int = 0
    resumed: int = 0

    @property
    def total(self) -> int:
        return self.applied + self.older + self.invalid

    def add(self, part: Written) -> None:
        """Count what became of others."""
        self.applied += part.applied
        self.older += part.older
        self.invalid += part.invalid
        self.resumed += part.resumed


@dataclass(frozen=True, slots=True)
class GenerationChunk:
    """The next `count` rows of a generation and the packed texts of their keys. `encoded` is None where an
    earlier run has written these rows."""

    count: int
    texts: bytes
    encoded: EncodedRows | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a view's rows go: the store, the connection beneath it, and the list of a generation's keys."""

    store: OnlineStore
    connection: RedisConnection
    keys: GenerationKeys


Report = Callable[[int], None]
"""Is told how many rows have been written so far."""

Admit = Callable[[GenerationChunk], Awaitable[None]]
"""Is awaited for each chunk, before it is written, and may refuse it."""


async def load_generation(
    place: Place,
    generation: int,
    chunks: Iterator[GenerationChunk],
    admit: Admit,
    report: Report,
) -> Written:
    """Write rows that nobody reads yet, and the list of their keys. Returns when all are stored."""

    async def write(chunk: GenerationChunk) -> Written:
        await admit(chunk)
        if chunk.encoded is None:
            return Written(applied=chunk.count, resumed=chunk.count)
        await place.keys.add(generation, chunk.texts)
        await place.store.load_many(chunk.encoded.keys, chunk.encoded.rows)
        return Written(applied=chunk.count)

    return await _pipelined(chunks, write, report)


async def upsert(store: OnlineStore, chunks: Iterator[EncodedRows], report: Report) -> Written:
    """Write rows in place, the newest of each key winning."""

    async def write(chunk: EncodedRows) -> Written:
        outcomes = await store.put_many(chunk.keys, chunk.rows)
        counts = np.bincount(outcomes, minlength=max(Outcome) + 1)
        return Written(int(counts[Outcome.APPLIED]), int(counts[Outcome.OLDER]), int(counts[Outcome.INVALID]))

    return await _pipelined(chunks, write, report)


async def _pipelined(
    chunks: Iterator[Chunk], write: Callable[[Chunk], Awaitable[Written]], report: Report
) -> Written:
    """Run `write` for each chunk, in order, one at a time, while the next is made.

    However it ends, no write is under way any more, and no chunk: what comes after may remove the rows, and
    close what they are read from.
    """
    written = Written()
    under_way: asyncio.Future[Written] | None = None
    try:
        while True:
            chunk = await in_thread(next, chunks, None)
            if under_way is not None:
                written.add(await under_way)
                report(written.total)
            if chunk is None:
                return written
            under_way = asyncio.ensure_future(write(chunk))
    finally:
        if under_way is not None and not under_way.done():
            under_way.cancel()
            await asyncio.gather(under_way, return_exceptions=True)
