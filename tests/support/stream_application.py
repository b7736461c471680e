"""An application of views over a stream, and what its worker does: events applied, watermarks advanced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from feature_store.redis_store import RedisStore
from feature_store.schema import feature_view
from feature_store.windows.events import Source
from feature_store.windows.writer import WindowWriter
from registry.plan import Plan
from registry.registry import Registry
from registry.watermarks import Advance, ViewGeneration
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.tiny_application import write_linear_model
from tests.support.windowed_view import Rated, block_of

YAML = """\
app: trends
entities:
  user: {key: {user_id: int64}}
  item: {key: {item_id: int64}}
streams:
  ratings:
    redis: {stream: ratings, partitions: 2}
    fields: {user_id: int64, item_id: int64, rating: float32, rated_at: timestamp}
    event_time: rated_at
    partition_by: user_id
views:
  item_trend:
    entity: item
    stream: ratings
    max_age: 1h
    windows:
      count: {count: rating, over: 1h, tile: 1m}
      mean: {mean: rating, over: 1h, tile: 1m, default: 3.5}
      highest: {max: rating, over: 30m, tile: 1m}
  user_trend:
    entity: user
    stream: ratings
    max_age: 1s
    windows: {total: {sum: rating, over: 1h, tile: 30m}}
  item_now: {entity: item, features: {clicks: int64}}
models:
  rater: {repository: models, inputs: {x: [item_trend.count, item_trend.mean]}, outputs: {score: y}}
pipelines:
  rate_items:
    entities: [user]
    candidates: request
    hydrate_candidates: [item_trend]
    predict: rater
    budget: {total: 2s}
"""
PARTITIONS = 2


def write_stream_application(directory: Path) -> Path:
    """Write the model and the application file; return the file. A score is count + 100 mean."""
    write_linear_model(directory / "models/rater/1/model.onnx", [1.0, 100.0])
    file = directory / "trends.yaml"
    file.write_text(YAML)
    return file


@dataclass(frozen=True)
class StreamWorker:
    """Does what a stream's worker does for one view of the live release, one call at a time."""

    redis_url: str
    view: str

    def apply(self, events: Sequence[Rated], *, partition: int = 0, first: int = 0) -> list[int]:
        """Apply events of a partition whose positions count from `first`; return their outcomes."""

        async def applied(registry: Registry, store: RedisStore, rows: ViewGeneration) -> list[int]:
            view = feature_view(await _live_plan(registry), self.view)
            writer = WindowWriter(view, rows.generation, 3600.0)
            block = block_of(events, Source(1, partition), first, "rating")
            return (await writer.apply(store, block, SystemClock().now_us())).tolist()

        return asyncio.run(self._connected(applied))

    def advance(self, watermark_us: int) -> None:
        """Say that every partition has come so far."""

        async def advanced(registry: Registry, _: RedisStore, rows: ViewGeneration) -> list[int]:
            every = [Advance(rows, PARTITIONS, number, watermark_us) for number in range(PARTITIONS)]
            await registry.watermarks.advance(every, watermark_us)
            return []

        asyncio.run(self._connected(advanced))

    async def _connected(
        self, work: Callable[[Registry, RedisStore, ViewGeneration], Awaitable[list[int]]]
    ) -> list[int]:
        connection = await RedisConnection.connect(self.redis_url, RedisSettings(), SystemClock())
        try:
            registry = Registry(connection, "trends", SystemClock())
            release, plan = await registry.live(), await _live_plan(registry)
            assert release is not None
            rows = ViewGeneration(plan.ids.views[self.view], release.views[self.view].generation)
            return await work(registry, RedisStore(connection), rows)
        finally:
            await connection.aclose()


async def _live_plan(registry: Registry) -> Plan:
    plan = await registry.live_plan()
    assert plan is not None
    return plan
