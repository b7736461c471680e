"""The vectors that a generation of a view holds, read back from the store: an index is built from exactly
what is served with it. `index_build.py` comes next.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from forebay.errors import NotUsable
from numpy.typing import NDArray

from feature_store.codec import ViewReader
from feature_store.keys import row_keys
from feature_store.schema import FeatureView
from feature_store.store import OnlineStore
from feature_store.types import Status
from jobs.generation_keys import GenerationKeys
from registry.dtypes import Scalar
from registry.key_text import string_of
from runtime.redis_connection import RedisConnection

_SCAN_COUNT = 1_000


@dataclass(frozen=True, slots=True)
class Vectors:
    """The entities that have a vector, and how many rows have none.

    Shapes: keys n integers or strings, in no order; values (n, dimension) float32.
    """

    keys: NDArray[np.int64] | list[str]
    values: NDArray[np.float32]
    without: int


async def read_vectors(
    store: OnlineStore, texts: AsyncIterator[list[str]], reader: ViewReader, feature: str, now_us: int
) -> Vectors:
    """Return the vectors in the column `feature` of the entities with these key texts.

    Raises: NotUsable where a row is corrupt. Cost: one round trip per chunk of texts; all vectors in memory.
    """
    kept: list[str] = []
    parts: list[NDArray[np.float32]] = []
    read = 0
    async for chunk in texts:
        rows = await store.get_many(reader.row_keys(chunk))
        column = reader.decode(rows, now_us).column(feature)
        if (column.statuses == Status.ERROR).any():
            raise NotUsable(f"view {reader.view.name} has corrupt rows: refresh it before building an index")
        stored = (column.statuses == Status.PRESENT) | (column.statuses == Status.STALE)
        parts.append(np.asarray(column.values, dtype=np.float32)[stored])
        kept.extend(text for text, is_stored in zip(chunk, stored.tolist(), strict=True) if is_stored)
        read += len(chunk)
    if not kept:
        raise NotUsable(f"view {reader.view.name} holds no row with a {feature}: refresh it first")
    return Vectors(_keys(reader.view, kept), np.concatenate(parts), read - len(kept))


async def stored_texts(
    connection: RedisConnection, keys: GenerationKeys, view: FeatureView, generation: int
) -> AsyncIterator[list[str]]:
    """Yield the key texts of a generation: from its key list, or for rows written in place by a scan."""
    if view.publish == "swap":
        async for chunk in keys.chunks(generation):
            yield chunk
        return
    [any_key] = row_keys(view.entity_id, view.view_id, generation, ["*"])
    before, after = any_key.decode().split("*")
    seen: set[str] = set()
    async for chunk in _scan(connection, before, after):
        fresh = [text for text in chunk if text not in seen]  # SCAN may return a key twice
        seen.update(fresh)
        if fresh:
            yield fresh


async def _scan(connection: RedisConnection, before: str, after: str) -> AsyncIterator[list[str]]:
    async for found in connection.scan(f"{before}*{after}", _SCAN_COUNT):
        yield [key.decode()[len(before) : -len(after)] for key in found]


def _keys(view: FeatureView, texts: list[str]) -> NDArray[np.int64] | list[str]:
    if view.key[0].dtype.scalar is Scalar.STRING:
        return [string_of(text) for text in texts]
    return np.array(texts, dtype=np.int64)
