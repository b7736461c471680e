"""Applied applications: `shop` has two batch views in one space, one upserted view, an index, and its data in
files; `trend` has two views over a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.codec import ViewReader
from feature_store.keys import canonical_texts
from feature_store.redis_store import RedisStore
from feature_store.schema import feature_view
from jobs.index_build import IndexBuilder
from jobs.index_release import IndexReleases
from jobs.progress import unheard
from jobs.refresh import Refresh, RefreshOutcome
from jobs.refresh_options import RefreshOptions
from jobs.rollback import Rollback
from registry.application_file import load_application_file
from registry.registry import Registry
from runtime.clock import ManualClock, SystemClock
from runtime.engine_settings import AnnIndexSettings
from runtime.redis_connection import RedisConnection
from tests.support.trend_application import Trend

APPLICATION = """
app: shop
entities:
  user: {key: {user_id: int64}}
  item: {key: {item_id: int64}}
sources:
  items: {parquet: items.parquet, event_time: changed_at}
  users: {parquet: users.parquet}
  visits: {csv: visits.csv}
views:
  item_profile:
    entity: item
    batch: {source: items, publish: swap}
    max_age: 1d
    features:
      price: {dtype: float32, default: 9.5}
      title: string
      tags: "int64[]"
      embedding: {dtype: "float32[8]", space: taste}
  user_taste:
    entity: user
    batch: {sql: "select user_id, embedding from users"}
    features: {embedding: {dtype: "float32[8]", space: taste}}
  user_visits:
    entity: user
    batch: {source: visits, publish: upsert}
    features: {visits: int64}
indexes:
  items:
    entity: item
    vector: item_profile.embedding
    metric: inner_product
    publish_if: {recall_at_10: 0.9}
"""
ITEMS = 300
USERS = 5


@dataclass
class Shop:
    """The application, its files and the jobs that change it."""

    root: Path
    connection: RedisConnection
    clock: ManualClock
    registry: Registry = field(init=False)
    store: RedisStore = field(init=False)
    stages: list[tuple[str, str, int, int]] = field(default_factory=list)
    halfway: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.registry = Registry(self.connection, "shop", self.clock)
        self.store = RedisStore(self.connection)

    @property
    def builder(self) -> IndexBuilder:
        settings = AnnIndexSettings()
        return IndexBuilder(self.connection, self.store, self.root / "artifacts", SystemClock(), settings)

    @property
    def indexes(self) -> IndexReleases:
        return IndexReleases(self.registry, self.root / "artifacts", "tester")

    @property
    def rollback(self) -> Rollback:
        return Rollback(self.registry, self.connection, "tester")

    async def apply(self, change: Callable[[str], str] = str) -> None:
        file = self.root / "app.yaml"
        file.write_text(change(APPLICATION))
        loaded = load_application_file(file)
        await self.registry.apply(loaded.application, loaded.root)

    async def refresh(self, *views: str, **options: Any) -> RefreshOutcome:
        def note(subject: str, stage: str, done: int, total: int) -> None:
            self.stages.append((subject, stage, done, total))
            if stage == "load" and 0 < done < total:
                self.halfway.set()

        job = Refresh(self.registry, self.connection, self.store, self.builder, self.clock, note)
        return await job.run(views, RefreshOptions(who="tester", **options))

    async def build_index(self, *, publish: bool = True) -> str:
        manifest = await self.indexes.build(self.builder, "items", unheard, publish=publish)
        return manifest.version

    async def read(self, view: str, feature: str, keys: list[int]) -> tuple[Any, list[int]]:
        """Return a feature's values and statuses as they are live."""
        live, plan = await self.registry.live(), await self.registry.live_plan()
        assert live is not None
        assert plan is not None
        entry = live.views[view]
        reader = ViewReader(feature_view(plan, view), entry.generation, entry.as_of_us)
        texts = canonical_texts(reader.view.key, [np.array(keys)])
        block = reader.decode(await self.store.get_many(reader.row_keys(texts)), self.clock.now_us())
        column = block.column(feature)
        return column.values, column.statuses.tolist()

    async def row_count(self) -> int:
        return len(await self.connection.execute("KEYS", "f{*"))

    def write_items(self, **columns: Any) -> None:
        """Write items.parquet: ITEMS rows with random embeddings, columns replaced or left out (None)."""
        random = np.random.default_rng(7)
        vectors = random.standard_normal(ITEMS * 8).astype(np.float32)
        table: dict[str, Any] = {
            "item_id": np.arange(ITEMS),
            "price": np.arange(ITEMS) / 2,
            "title": [f"item {number}" for number in range(ITEMS)],
            "tags": [list(range(number % 4)) for number in range(ITEMS)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors), 8),
            "changed_at": pa.array(
                [1_600_000_000_000_000 + number for number in range(ITEMS)], pa.timestamp("us")
            ),
        }
        table |= columns
        kept = {name: values for name, values in table.items() if values is not None}
        pq.write_table(pa.table(kept), self.root / "items.parquet")

    def write_users(self, count: int = USERS) -> None:
        embeddings = [[float(user)] * 8 for user in range(count)]
        pq.write_table(
            pa.table({"user_id": range(count), "embedding": embeddings}), self.root / "users.parquet"
        )

    def write_visits(self, *rows: tuple[int, int]) -> None:
        lines = "".join(f"{user},{count}\n" for user, count in rows)
        (self.root / "visits.csv").write_text("user_id,visits\n" + lines)


@pytest.fixture
async def shop(tmp_path: Path, connection: RedisConnection) -> Shop:
    shop = Shop(tmp_path, connection, ManualClock())
    shop.write_items()
    shop.write_users()
    shop.write_visits((1, 10), (2, 20))
    await shop.apply()
    return shop


@pytest.fixture
async def trend(tmp_path: Path, connection: RedisConnection) -> Trend:
    trend = Trend(tmp_path, connection)
    await trend.apply()
    return trend
