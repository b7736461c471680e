"""What an executor does with its part of a view's rows: pickled, run elsewhere, it writes what the job
would."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pyarrow as pa
import pytest
from forebay.errors import NotUsable, Unavailable

from feature_store.keys import row_keys
from feature_store.schema import feature_view
from jobs.executors import REPORT_COLUMN, PartReport, PartWriter, StoreAddress, combined
from jobs.generation_keys import GenerationKeys
from jobs.view_rows import RowMaker
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_settings import RedisSettings

NUMBER, STARTED_US = 123_456, 1_700_000_000_000_000


def table(start: int, stop: int) -> pa.Table:
    numbers = range(start, stop)
    times = pa.array([1_600_000_000_000_000 + number for number in numbers], pa.timestamp("us"))
    return pa.table(
        {
            "item_id": list(numbers),
            "price": [None if number % 7 == 0 else number / 2 for number in numbers],
            "title": [None if number % 5 == 0 else f"item {number}" for number in numbers],
            "tags": [list(range(number % 4)) for number in numbers],
            "embedding": [[float(number)] * 8 for number in numbers],
            "changed_at": times,
        }
    )


async def writer(shop: Any, url: str, **changes: Any) -> PartWriter:
    plan = await shop.registry.live_plan()
    given: dict[str, Any] = {
        "address": StoreAddress(url, RedisSettings(), FeatureStoreSettings()),
        "app": "shop",
        "view": feature_view(plan, "item_profile"),
        "generation": 9,
        "number": NUMBER,
        "event_time": "changed_at",
        "started_us": STARTED_US,
        "kind": "generation",
        "ranged": ("price",),
    }
    return PartWriter(**{**given, **changes})


def report_of(part: PartWriter, *tables: pa.Table) -> PartReport:
    """Run a part as an engine does: from its pickle, over record batches of any size."""
    moved = pickle.loads(pickle.dumps(part))
    batches = (batch for table in tables for batch in table.to_batches(max_chunksize=70))
    [answer] = moved(batches)
    return PartReport.from_json(answer.column(REPORT_COLUMN)[0].as_py())


async def in_thread(part: PartWriter, *tables: pa.Table) -> PartReport:
    """Run a part outside of the test's event loop, which it would start in."""
    return await asyncio.to_thread(report_of, part, *tables)


async def test_parts_write_the_rows_and_keys_that_the_job_would_write(shop: Any, redis_url: str) -> None:
    part = await writer(shop, redis_url)
    total = combined(
        [await in_thread(part, table(0, 100)), await in_thread(part, table(100, 150)), await in_thread(part)]
    )
    assert total.written.applied == 150
    assert total.event_times_us == [1_600_000_000_000_000, 1_600_000_000_000_149]
    assert total.measures.rows == 150
    assert total.measures.nulls["price"] == 22
    assert total.measures.extremes == {"price": (0.5, 74.5)}
    maker = RowMaker(part.view, 9, NUMBER, "changed_at", STARTED_US)
    expected = maker.encode(maker.read(table(0, 150).combine_chunks().to_batches()[0]))
    assert await shop.store.get_many(expected.keys) == expected.rows
    keys = GenerationKeys(shop.connection, "shop", part.view.view_id)
    noted = [text async for texts in keys.chunks(9) for text in texts]
    assert sorted(noted) == sorted(expected.texts)


async def test_rows_are_only_counted_and_newest_wins_when_the_part_is_asked_so(
    shop: Any, redis_url: str
) -> None:
    counted = await in_thread(await writer(shop, redis_url, kind="count"), table(0, 10))
    assert counted.measures.rows == 10
    part = await writer(shop, redis_url, kind="in place")
    keys = row_keys(part.view.entity_id, part.view.view_id, 9, ["3"])
    assert await shop.store.get_many(keys) == [None]
    assert (await in_thread(part, table(0, 10))).written.applied == 10
    older = await writer(shop, redis_url, kind="in place", number=NUMBER - 1)
    assert (await in_thread(older, table(0, 10))).written.older == 10


async def test_error_of_a_part_comes_back_as_ours(shop: Any, redis_url: str) -> None:
    part = await writer(shop, redis_url)
    wrong = table(0, 10).set_column(4, "embedding", pa.array([[1.0]] * 10))
    with pytest.raises(NotUsable, match="item_profile: column embedding can't be"):
        combined([await in_thread(part, wrong)])
    gone = StoreAddress("redis://127.0.0.1:1", RedisSettings(), FeatureStoreSettings())
    with pytest.raises(Unavailable):
        combined([PartReport(), await in_thread(await writer(shop, redis_url, address=gone), table(0, 10))])
