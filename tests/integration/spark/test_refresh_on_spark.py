"""A refresh on Spark, in local mode: the same SQL and sources give the same rows as DuckDB, byte for byte.

Run by `make test-spark`, in an environment of its own: PySpark and a Java runtime are needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forebay.errors import InvalidRequest, NotUsable

from feature_store.redis_store import RedisStore
from jobs.engines import DUCKDB, Engine, engine_of
from jobs.generation_keys import GenerationKeys
from jobs.index_build import IndexBuilder
from jobs.progress import unheard
from jobs.refresh import Refresh, RefreshOutcome
from jobs.refresh_options import RefreshOptions
from jobs.refused import Refused
from registry.application_file import load_application_file
from registry.registry import Registry
from runtime.clock import ManualClock, SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.engine_settings import AnnIndexSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from runtime.settings import load_settings
from tests.support.ratings_application import write_application

pyspark = pytest.importorskip("pyspark", reason="`make test-spark` installs it")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # PySpark warns of newer versions of what it uses
]

YAML = """
app: spread
entities:
  user: {key: {user_id: int64}}
  item: {key: {shop: string, item_id: int32}}
sources:
  ratings: {parquet: ratings.parquet, event_time: rated_at}
  items: {parquet: items.parquet, event_time: changed_at}
  prices: {csv: prices.csv}
  user_history:
    sql: >-
      select user_id, rated_at, avg(rating) over earlier as mean_rating,
        count(*) over earlier as rating_count, rating >= 4 as liked,
        movie_id::varchar as last_movie, [rating, rating / 2] as pair
      from ratings window earlier as (partition by user_id order by rated_at)
    event_time: rated_at
views:
  user_ratings:
    entity: user
    batch: {source: user_history, checks: {ranges: {mean_rating: [0.5, 5]}}}
    features:
      mean_rating: {dtype: float32, default: 3.5}
      rating_count: int32
      liked: bool
      last_movie: string
      pair: float32[2]
  item_profile:
    entity: item
    batch: {source: items}
    features:
      price: float64
      small: float16
      title: string
      tags: int64[]
      vector: float32[4]
      at: timestamp
  item_prices:
    entity: item
    batch:
      sql: "select shop, item_id::int as item_id, price from prices where price > 0"
      publish: upsert
    features: {price: float32}
"""


class Spread:
    """The application, refreshed on one engine or the other."""

    def __init__(self, root: Path, connection: RedisConnection, url: str) -> None:
        self.root, self.connection = root, connection
        self.store = RedisStore(connection)
        self.registry = Registry(connection, "spread", ManualClock())
        settings = load_settings(refresh={"engine": "spark", "spark_master": "local[2]"})
        self.spark = engine_of(settings, url)

    async def apply(self, text: str = YAML) -> None:
        (self.root / "app.yaml").write_text(text)
        loaded = load_application_file(self.root / "app.yaml")
        await self.registry.apply(loaded.application, loaded.root)

    async def refresh(self, engine: Engine, *views: str) -> RefreshOutcome:
        builder = IndexBuilder(
            self.connection, self.store, self.root / "artifacts", SystemClock(), AnnIndexSettings()
        )
        job = Refresh(self.registry, self.connection, self.store, builder, ManualClock(), unheard, engine)
        return await job.run(views, RefreshOptions(who="tester"))

    async def rows(self) -> dict[bytes, bytes]:
        """Return all live rows by key; without the generation, and the batch's number that each carries."""
        live, plan = await self.registry.live(), await self.registry.live_plan()
        assert live is not None
        assert plan is not None
        generations = {plan.ids.views[name]: entry.generation for name, entry in live.views.items()}
        found: dict[bytes, bytes] = {}
        keys = await self.connection.execute("KEYS", "f{*")
        for key, row in zip(keys, await self.store.get_many(keys), strict=True):
            before, _, place = key.rpartition(b"}")
            view, _, generation = place.partition(b":")
            if generations[int(view)] == int(generation):
                found[before + b"}" + view] = row[:12] + row[20:]
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture
async def spread(server: TemporaryStore, tmp_path: Path) -> AsyncIterator[Spread]:
    write_application(tmp_path, YAML, users=60)
    random = np.random.default_rng(1)
    count = 2_000
    items: dict[str, Any] = {
        "shop": [f"a:{{{number % 7}}}" for number in range(count)],
        "item_id": pa.array(random.integers(0, 300, count), pa.int32()),  # repeated, with ties
        "price": pa.array(random.choice([1.5, 2.5, np.nan, 4.25], count)),
        "small": pa.array(random.random(count), pa.float32()),
        "title": [None if number % 11 == 0 else f"título {number}" for number in range(count)],
        "tags": [None if number % 13 == 0 else list(range(number % 4)) for number in range(count)],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(random.random(count * 4), pa.float32()), 4),
        "at": pa.array(random.integers(1, 2**50, count), pa.timestamp("us", tz="UTC")),
        "changed_at": pa.array(1_600_000_000_000_000 + random.integers(0, 5, count), pa.timestamp("us")),
    }
    items["shop"][5] = None  # a row without a key
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    lines = [f"s{number},{number},{number / 4 - 10}" for number in range(200)]
    (tmp_path / "prices.csv").write_text("\n".join(["shop,item_id,price", *lines]) + "\n")
    connection = await RedisConnection.connect(server.url, RedisSettings(), SystemClock())
    try:
        await connection.execute("FLUSHALL")
        found = Spread(tmp_path, connection, server.url)
        await found.apply()
        yield found
    finally:
        await connection.aclose()


async def test_rows_are_those_of_duckdb_byte_for_byte_when_executors_write_them(spread: Spread) -> None:
    here = await spread.refresh(DUCKDB)
    expected = await spread.rows()
    await spread.connection.execute("DEL", *await spread.connection.execute("KEYS", "f{*"))
    there = await spread.refresh(spread.spark)
    assert await spread.rows() == expected
    assert len(expected) > 500
    for one, other in zip(here.views, there.views, strict=True):
        assert (one.view, one.counts, one.written) == (other.view, other.counts, other.written)
        assert one.event_times_us == other.event_times_us
    done, before = await spread.registry.batches(2)
    assert done.status == "done"
    assert {name: figures.nulls for name, figures in done.figures.items()} == {
        name: figures.nulls for name, figures in before.figures.items()
    }
    plan = await spread.registry.live_plan()
    assert plan is not None
    view_id = plan.ids.views["item_profile"]
    keys = GenerationKeys(spread.connection, "spread", view_id)
    live = await spread.registry.live()
    assert live is not None
    texts = [text async for part in keys.chunks(live.views["item_profile"].generation) for text in part]
    assert len(texts) == len(set(texts)) == there.views[1].counts.loadable


async def test_refresh_on_spark_fails_as_on_duckdb_and_leaves_what_is_live(spread: Spread) -> None:
    await spread.refresh(DUCKDB, "user_ratings")
    before = await spread.rows()
    await spread.apply(YAML.replace("[0.5, 5]", "[4.9, 5]"))
    with pytest.raises(Refused, match=r"user_ratings\.ranges\.mean_rating"):
        await spread.refresh(spread.spark, "user_ratings")
    assert await spread.rows() == before
    await spread.apply(YAML.replace("price > 0", "cost > 0"))
    with pytest.raises((InvalidRequest, NotUsable), match="item_prices"):
        await spread.refresh(spread.spark, "item_prices")
    (spread.root / "items.parquet").unlink()
    with pytest.raises(NotUsable, match="items"):
        await spread.refresh(spread.spark, "item_profile")
    assert await spread.rows() == before
