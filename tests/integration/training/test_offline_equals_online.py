"""What a training set says of an instant is what the store answered at it, feature by feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.codec import FeatureColumn
from feature_store.types import NO_VALUE, Status
from registry.columns import VariableLists
from tests.support.ratings_application import APPLICATION, write_application, write_ratings_until

DAY_US = 86_400_000_000
USER_FEATURES = ["mean_rating", "spread", "rating_count", "liked", "last_movie", "extremes"]
MOVIE_FEATURES = ["mean_rating", "rating_count"]
SAMPLE = 150


def instants(ratings: pa.Table) -> list[int]:
    """Return three instants at which something was rated, the second of them a tie, the third almost."""
    times = np.sort(ratings["rated_at"].cast("int64").to_numpy())
    tied = times[np.flatnonzero(np.diff(times) == 0)]
    return [int(times[len(times) // 20]), int(tied[len(tied) // 2]), int(times[-1]) - 1]


def as_stored(table: pa.Table, column: str) -> list[Any]:
    return list(table[column].to_pylist())


def as_answered(column: FeatureColumn) -> list[Any]:
    values = column.values
    if isinstance(values, VariableLists):
        plain: list[Any] = [part.tolist() for part in np.split(values.values, values.offsets[1:-1])]
    else:
        plain = values if isinstance(values, list) else np.asarray(values).tolist()
    missing = np.isin(column.statuses, NO_VALUE).tolist()
    return [None if is_missing else value for value, is_missing in zip(plain, missing, strict=True)]


def assert_equal(table: pa.Table, view: str, answered: dict[str, FeatureColumn]) -> None:
    for feature, column in answered.items():
        name = f"{view}.{feature}"
        statuses = [Status(number).name for number in column.statuses.tolist()]
        assert as_stored(table, f"{name}.status") == statuses, name
        assert as_stored(table, name) == as_answered(column), name


@pytest.mark.parametrize("user_count", [60, pytest.param(671, marks=pytest.mark.slow)])
async def test_movie_data_reads_offline_as_it_was_served_when_the_store_was_filled_at_each_instant(
    history: Any, user_count: int
) -> None:
    write_application(history.root, users=user_count)
    await history.apply(APPLICATION)
    ratings = pq.read_table(history.root / "all_ratings.parquet")
    random = np.random.default_rng(11)
    users = random.choice(np.unique(ratings["user_id"].to_numpy()), SAMPLE)
    movies = random.choice(np.append(np.unique(ratings["movie_id"].to_numpy()), 10**9), SAMPLE)
    at = instants(ratings)
    labels = {
        "user_id": np.tile(users, len(at)),
        "movie_id": np.tile(movies, len(at)),
        "event_time": np.repeat(at, SAMPLE),
        "liked": np.arange(SAMPLE * len(at)) % 2,
    }
    table, outcome = await history.training_set(
        "user_ratings", "movie_ratings", labels=labels, allow_repeated=True
    )

    assert table["liked"].to_pylist() == labels["liked"].tolist()
    seen: set[str] = set()
    for number, at_us in enumerate(at):
        write_ratings_until(history.root, at_us)
        await history.refresh(at_us)
        part = table.slice(number * SAMPLE, SAMPLE)
        assert_equal(part, "user_ratings", await history.read(at_us, "user_ratings", USER_FEATURES, users))
        assert_equal(
            part, "movie_ratings", await history.read(at_us, "movie_ratings", MOVIE_FEATURES, movies)
        )
        seen |= {
            status
            for name in part.column_names
            if name.endswith(".status")
            for status in part[name].to_pylist()
        }
        newest = [
            time for time in part["user_ratings.event_time"].cast("int64").to_pylist() if time is not None
        ]
        assert max(newest) <= at_us
    assert seen >= {"PRESENT", "NOT_FOUND", "DEFAULTED"}
    assert outcome.tally.labels == len(labels["user_id"])


SMALL = """
app: small
entities:
  item: {key: {shop: string, item_id: int32}}
sources: {items: {parquet: items.parquet, event_time: changed_at}}
views:
  swapped:
    entity: item
    batch: {source: items}
    max_age: 2d
    features: {price: {dtype: float32, default: 9.5}, tags: "int64[]", seen_at: timestamp, title: string}
"""


async def test_row_of_the_refresh_before_is_joined_when_a_view_is_refreshed_every_three_days(
    history: Any,
) -> None:
    every_us = 3 * DAY_US
    start_us = 1_700_000_000_000_000 // every_us * every_us
    times = [start_us - DAY_US, start_us, start_us + 1, start_us + DAY_US, start_us + 3 * DAY_US]
    items = {
        "shop": ["a:{}", "a:{}", "a:{}", "b", "a:{}"],
        "item_id": pa.array([1, 1, 1, 2, 1], pa.int32()),
        "price": [1.0, float("nan"), 3.0, 4.0, 5.0],
        "tags": [[1], None, [], [4, 4], []],
        "seen_at": pa.array([10, None, 30, 40, 50], pa.timestamp("us")),
        "title": ["one", "", None, "vier", "fünf"],
        "changed_at": pa.array(times, pa.timestamp("us", tz="UTC")),
    }
    await history.apply(SMALL)
    asked_us = [start_us - 1, start_us, start_us + 1, start_us + 2 * DAY_US, start_us + 2 * DAY_US + 1]
    asked_us += [start_us + every_us - 1, start_us + every_us]
    keys = [("a:{}", 1), ("b", 2), ("c", 1)]
    pq.write_table(pa.table(items), history.root / "items.parquet")
    labels = {
        "shop": [shop for shop, _ in keys] * len(asked_us),
        "item_id": [number for _, number in keys] * len(asked_us),
        "event_time": np.repeat(asked_us, len(keys)),
    }
    table, _ = await history.training_set("swapped", labels=labels, every_us={"swapped": every_us})
    seen: set[str] = set()
    for number, at_us in enumerate(asked_us):
        refreshed_us = at_us // every_us * every_us
        known = pa.table(items).filter(np.array(times) <= refreshed_us)
        pq.write_table(known, history.root / "items.parquet")
        await history.refresh(refreshed_us, allow_empty=True)
        part = table.slice(number * len(keys), len(keys))
        read = await history.read(
            at_us,
            "swapped",
            ["price", "tags", "title"],
            [shop for shop, _ in keys],
            [item for _, item in keys],
        )
        assert_equal(part, "swapped", read)
        seen |= {*part["swapped.tags.status"].to_pylist(), *part["swapped.title.status"].to_pylist()}
    assert seen == {"PRESENT", "NULL", "NOT_FOUND", "STALE"}
