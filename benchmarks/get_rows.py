"""Reads in this process, without gRPC: from entity keys to a float matrix and its statuses, measured against
a raw MGET of the same rows and one `frombuffer` of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import numpy as np
import uvloop
from forebay.deadline import Deadline
from numpy.typing import NDArray

from benchmarks.bench import Bench, MeasurementFailed
from benchmarks.pairs import Figure, Pair, Sample, median_us, median_us_async, ratio_figure
from benchmarks.raw_reader import RawReader
from benchmarks.raw_store import RawStore
from feature_store.codec import RowEncoder, ViewReader
from feature_store.keys import canonical_texts
from feature_store.redis_store import RedisStore
from feature_store.schema import Feature, FeatureView, RowSchema
from feature_store.types import KeyField, Status
from registry.columns import ColumnData
from registry.dtypes import DType, Scalar
from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings

_STORED = 10_000
_REQUESTS = 2_000
_PART_S = 1.0
_TIMEOUT_S = 1.0
_DAY_US = 86_400_000_000

Read = Callable[[NDArray[np.int64]], Awaitable[tuple[NDArray[np.float32], NDArray[np.uint8]]]]


def get_vs_floor(bench: Bench, entities: int, columns: int) -> Figure:
    """A read of `entities` x `columns` floats of one view, over the floor.

    Ours is what a step of a prediction does: keys to texts, texts to row keys, one MGET over the connection
    that requests share, rows decoded, ages looked at, values into a matrix. The floor gets its keys ready.
    """
    values = np.random.default_rng(columns).standard_normal((_STORED, columns), np.float32)
    view = _view(columns)
    places = np.random.default_rng(entities).integers(_STORED, size=(_REQUESTS, entities))
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        keys = _fill(raw, view, values)
        floor = RawReader(raw, [keys], places)
        pairs = uvloop.run(_pairs(bench, store.url, view, values, places, floor))
    return ratio_figure(pairs, "us", {"entities": entities, "columns": columns})


async def _pairs(
    bench: Bench,
    url: str,
    view: FeatureView,
    values: NDArray[np.float32],
    places: NDArray[np.int64],
    floor: RawReader,
) -> list[Pair]:
    clock = SystemClock()
    connection = await RedisConnection.connect(url, RedisSettings(), clock)
    store = RedisStore(connection)
    try:
        read = _reader(view, store, clock)
        await _check(read, values, places[0])
        turns = _turns(places)
        pairs = []
        for number in range(bench.options.repeats):
            bench.tick(number)
            raw_us = median_us(floor.read, _PART_S)
            ours_us = await median_us_async(lambda: read(next(turns)), _PART_S)
            pairs.append(Pair(Sample(raw_us), Sample(ours_us)))
        return pairs
    finally:
        await connection.aclose()


def _reader(view: FeatureView, store: RedisStore, clock: SystemClock) -> Read:
    reader = ViewReader(view, 1, clock.now_us())
    names = list(view.features)
    spec = reader.gather_spec(names, range(len(names)))

    async def read(keys: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        deadline = Deadline(clock.monotonic_s() + _TIMEOUT_S)
        rows = await store.get_many(reader.row_keys(canonical_texts(view.key, [keys])), deadline)
        block = reader.decode(rows, clock.now_us())
        matrix = np.empty((len(keys), spec.width), np.float32)
        block.gather(spec, matrix)
        return matrix, block.row_statuses

    return read


async def _check(read: Read, values: NDArray[np.float32], places: NDArray[np.int64]) -> None:
    """Raise MeasurementFailed unless a read gives what was stored."""
    matrix, statuses = await read(places)
    if not (statuses == Status.PRESENT).all() or not np.array_equal(matrix, values[places]):
        raise MeasurementFailed("a read in process doesn't give the values that were stored")


def _turns(places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    while True:
        yield from places


def _view(columns: int) -> FeatureView:
    features = tuple(Feature(f"f{number:03d}", DType(Scalar.FLOAT32)) for number in range(columns))
    key = (KeyField("item_id", DType(Scalar.INT64)),)
    return FeatureView("wide", 1, "item", 1, key, RowSchema(1, features), max_age_us=_DAY_US)


def _fill(raw: RawStore, view: FeatureView, values: NDArray[np.float32]) -> list[bytes]:
    """Store a row for each of the values' rows; return their keys, in order."""
    columns = {name: ColumnData(values[:, place]) for place, name in enumerate(view.features)}
    rows = RowEncoder(view.schema).encode(columns, np.zeros(len(values), np.int64), 0)
    texts = canonical_texts(view.key, [np.arange(len(values))])
    keys = ViewReader(view, 1, 0).row_keys(texts)
    raw.set_many(keys, rows)
    return keys
