"""The streamed application: one view with three windows over one partition, and the events that feed it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.prepared import forebay
from benchmarks.processes import run
from feature_store.keys import canonical_texts
from feature_store.schema import feature_view
from feature_store.windows.events import EventBlock, Source
from feature_store.windows.writer import WindowWriter
from jobs.stream.partitions import events_key
from registry.registry import Registry
from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings

APP = "streamed"
STREAM = "events"
_VIEW = "trend"
EVENTS_KEY = events_key(APP, STREAM, 0)
_SPREAD_US = 3_600_000_000
"""Over which the events' times are spread: the last hour."""


@dataclass(frozen=True, slots=True)
class Events:
    """n events in order. Shapes: keys (n,) int64, values (n,) float32, times_us (n,) int64, ascending."""

    keys: NDArray[np.int64]
    values: NDArray[np.float32]
    times_us: NDArray[np.int64]

    def commands(self) -> list[tuple[bytes | str | int, ...]]:
        """Return the XADDs that publish them."""
        columns = zip(self.keys.tolist(), self.values.tolist(), self.times_us.tolist(), strict=True)
        return [added(key, value, time_us) for key, value, time_us in columns]

    def block(self, writer: WindowWriter, start: int, stop: int) -> EventBlock:
        """Return a part of them as the store takes it."""
        part = slice(start, stop)
        texts = canonical_texts(writer.view.key, [self.keys[part]])
        positions = np.arange(start, min(stop, len(self.keys)))
        return EventBlock(
            Source(1, 0),
            texts,
            self.times_us[part],
            positions,
            {"value": self.values[part].astype(np.float64)},
        )


def drawn(events: int, entities: int) -> Events:
    """Return events of the last hour, each of any entity."""
    rng = np.random.default_rng(events)
    times_us = time.time_ns() // 1_000 - np.sort(rng.integers(_SPREAD_US, size=events))[::-1]
    return Events(rng.integers(entities, size=events), rng.random(events, np.float32), times_us)


def added(key: int, value: float, time_us: int) -> tuple[bytes | str | int, ...]:
    """Return the XADD of one event."""
    return ("XADD", EVENTS_KEY, "*", "item_id", key, "value", repr(value), "at", time_us)


def apply(store: TemporaryStore, directory: Path) -> WindowWriter:
    """Apply the application; return what writes its view's rows."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "application.yaml"
    file.write_text(yaml.safe_dump(_DEFINITION, sort_keys=False))
    run(forebay(store, directory, "apply", str(file)), directory)
    return asyncio.run(_writer(store.url))


def row_keys(writer: WindowWriter, keys: Sequence[int]) -> list[bytes]:
    """Return the keys of entities' rows."""
    return writer.row_keys(canonical_texts(writer.view.key, [np.array(keys)]))


async def _writer(url: str) -> WindowWriter:
    clock = SystemClock()
    connection = await RedisConnection.connect(url, RedisSettings(), clock)
    try:
        registry = Registry(connection, APP, clock)
        release, plan = await registry.live(), await registry.live_plan()
        if release is None or plan is None:
            raise RuntimeError(f"application {APP} is not applied")
        view = feature_view(plan, _VIEW)
        return WindowWriter(view, release.views[_VIEW].generation, FeatureStoreSettings().max_lateness_s)
    finally:
        await connection.aclose()


_DEFINITION = {
    "app": APP,
    "entities": {"item": {"key": {"item_id": "int64"}}},
    "streams": {
        STREAM: {
            "redis": {"stream": STREAM, "partitions": 1},
            "fields": {"item_id": "int64", "value": "float32", "at": "timestamp"},
            "event_time": "at",
            "partition_by": "item_id",
        }
    },
    "views": {
        _VIEW: {
            "entity": "item",
            "stream": STREAM,
            "windows": {
                "count_7d": {"count": "value", "over": "7d", "tile": "6h"},
                "mean_7d": {"mean": "value", "over": "7d", "tile": "6h"},
                "max_1d": {"max": "value", "over": "1d", "tile": "6h"},
            },
        }
    },
}
