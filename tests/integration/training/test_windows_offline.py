"""Windows in a training set are what the store answered: its rows were fed the events that had happened by
the label's time, and read at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.codec import FeatureColumn
from feature_store.keys import canonical_texts
from feature_store.memory_store import MemoryStore
from feature_store.schema import FeatureView, feature_view
from feature_store.types import Status
from feature_store.windows.events import EventBlock, EventOutcome, Source
from feature_store.windows.freshness import StreamFreshness
from feature_store.windows.reader import WindowReader
from feature_store.windows.writer import WindowWriter
from tests.integration.training.conftest import NOW_US
from tests.support.ratings_application import write_application

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
STREAM = """
app: watched
entities:
  user:  {key: {user_id: int64}}
  movie: {key: {movie_id: int64}}
sources:
  ratings: {parquet: ratings.parquet, event_time: rated_at}
streams:
  ratings:
    redis: {stream: ratings}
    fields: {user_id: int64, movie_id: int64, rating: float32, rated_at: timestamp}
    event_time: rated_at
    partition_by: user_id
    history: ratings
views:
  trend:
    entity: movie
    stream: ratings
    max_age: 1d
    windows:
      count_7d: {count: rating, over: 7d, tile: 6h}
      mean_7d: {mean: rating, over: 7d, tile: 6h, default: 3.5}
      sum_90d: {sum: rating, over: 90d, tile: 10d}
      least_1d: {min: rating, over: 1d, tile: 6h}
      greatest_30d: {max: rating, over: 10d, tile: 6h}
      spread_10d: {stddev: rating, over: 10d, tile: 2d}
      last_2d: {last: rating, over: 2d, tile: 1d}
      users_5d: {count: user_id, over: 5d, tile: 1d}
"""
# One ring serves windows of one reach: the longest has a view of its own.
YAML = (
    STREAM.replace("      sum_90d: {sum: rating, over: 90d, tile: 10d}\n", "")
    + """
  long_trend:
    entity: user
    stream: ratings
    windows:
      sum_90d: {sum: rating, over: 90d, tile: 10d}
      mean_360d: {mean: rating, over: 360d, tile: 20d}
"""
)


async def answered(
    view: FeatureView, keys: Sequence[Any], ratings: pa.Table, at_us: int
) -> dict[str, FeatureColumn]:
    """Return what a store says at an instant that was given all events until then, and read at it."""
    store, writer = MemoryStore(), WindowWriter(view, 1, 3600.0)
    times_us = ratings["rated_at"].cast("int64").to_numpy()
    known = ratings.filter(pa.array(times_us <= at_us)).sort_by("rated_at")
    [field] = view.key
    for start in range(0, known.num_rows, 50_000):
        part = known.slice(start, 50_000)
        events = EventBlock(
            Source(1, 0),
            canonical_texts(view.key, [part[field.name].to_numpy()]),
            part["rated_at"].cast("int64").to_numpy(),
            start + np.arange(part.num_rows),
            {name: part[name].to_numpy().astype(np.float64) for name in writer.fields},
        )
        # As if each had come when it happened: nothing is late.
        outcomes = await writer.apply(store, events, at_us)
        assert set(outcomes.tolist()) <= {EventOutcome.APPLIED, EventOutcome.LATE}
    reader = WindowReader(view, 1, StreamFreshness({(view.view_id, 1): at_us}))
    block = reader.decode(await store.get_many(reader.row_keys(canonical_texts(view.key, [keys]))), at_us)
    return {name: block.column(name) for name in view.windows}


def assert_same(table: pa.Table, view: str, expected: dict[str, FeatureColumn]) -> None:
    for name, column in expected.items():
        statuses = [Status(number).name for number in column.statuses.tolist()]
        assert table[f"{view}.{name}.status"].to_pylist() == statuses, name
        values = table[f"{view}.{name}"].to_numpy(zero_copy_only=False).astype(np.float64)
        answered_values = np.asarray(column.values, np.float64)
        missing = column.statuses == Status.NULL
        assert np.isnan(values[missing]).all()
        np.testing.assert_allclose(values[~missing], answered_values[~missing], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("user_count", [40, pytest.param(300, marks=pytest.mark.slow)])
async def test_windows_of_movie_data_read_offline_as_they_were_served_at_each_instant(
    history: Any, user_count: int
) -> None:
    write_application(history.root, YAML, users=user_count)
    await history.apply(YAML)
    ratings = pq.read_table(history.root / "ratings.parquet")
    times_us = np.sort(ratings["rated_at"].cast("int64").to_numpy())
    instants = [int(times_us[len(times_us) // 3]), int(times_us[-1]) // DAY_US * DAY_US, int(times_us[-50])]
    random = np.random.default_rng(5)
    recent = ratings.filter(
        pa.array(ratings["rated_at"].cast("int64").to_numpy() > times_us[-50] - 10 * DAY_US)
    )
    movies = np.concatenate(
        [random.choice(ratings["movie_id"].to_numpy(), 40), recent["movie_id"][:40], [10**9]]
    )
    users = np.resize(np.unique(ratings["user_id"].to_numpy()), len(movies))
    count = len(movies)
    labels = {
        "movie_id": np.tile(movies, len(instants)),
        "user_id": np.tile(users, len(instants)),
        "event_time": np.repeat(instants, count),
    }
    table, outcome = await history.training_set("trend", "long_trend", labels=labels, allow_repeated=True)
    plan = await history.registry_at(NOW_US).live_plan()
    for number, at_us in enumerate(instants):
        part = table.slice(number * count, count)
        for view, keys in (("trend", movies), ("long_trend", users)):
            assert_same(part, view, await answered(feature_view(plan, view), keys, ratings, at_us))
    counts = np.array(table["trend.count_7d"].to_pylist())
    assert (counts == 0).any()
    assert (counts > 0).any()
    assert set(table["trend.mean_7d.status"].to_pylist()) == {"PRESENT", "DEFAULTED"}
    assert not outcome.remarks


async def test_windows_are_right_at_the_borders_of_tiles_and_of_windows(history: Any) -> None:
    start_us = 1_700_000_000_000_000 // (6 * HOUR_US) * 6 * HOUR_US
    offsets = [-1, 0, 1]
    borders = [start_us + hours * HOUR_US for hours in (0, 6, 12, 24, 24 * 7)]
    times = [border + offset for border in borders for offset in offsets]
    values = [1.0, 5.0, None, 3.0, float("nan"), 2.0, 1e9, 1e9 + 1, 0.5, 4.0, 4.5, 1.5, 2.5, 3.5, 0.25]
    ratings = pa.table(
        {
            "user_id": pa.array([1] * len(times) + [2, 2, None]),
            "movie_id": pa.array([7] * len(times) + [8, 8, 7]),
            "rating": pa.array([*values, 5.0, 1.0, 5.0], pa.float32()),
            "rated_at": pa.array([*times, start_us, start_us, start_us], pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(ratings, history.root / "ratings.parquet")
    await history.apply(YAML)
    span = 7 * DAY_US
    instants = sorted(
        {border + offset + shift for border in borders for offset in offsets for shift in (0, span, HOUR_US)}
    )
    labels = {"movie_id": [7, 8, 9] * len(instants), "event_time": np.repeat(instants, 3)}
    table, _ = await history.training_set("trend", labels=labels)
    plan = await history.registry_at(NOW_US).live_plan()
    whole = ratings.filter(ratings["user_id"].is_valid())
    for number, at_us in enumerate(instants):
        expected = await answered(feature_view(plan, "trend"), [7, 8, 9], whole, at_us)
        assert_same(table.slice(3 * number, 3), "trend", expected)


async def test_view_of_a_stream_is_refused_when_its_history_is_not_named_or_does_not_fit(
    history: Any,
) -> None:
    labels = {"movie_id": [1], "event_time": [NOW_US - 1]}
    await history.apply(YAML.replace("    history: ratings\n", ""))
    with pytest.raises(Exception, match="stream ratings names no `history`, the source of its past events"):
        await history.training_set("trend", labels=labels)
    wrong = {"movie_id": [1], "user_id": [1], "rated_at": pa.array([1], pa.timestamp("us"))}
    pq.write_table(pa.table(wrong), history.root / "ratings.parquet")
    await history.apply(YAML)
    with pytest.raises(Exception, match="as the history of view trend: no column rating; it has movie_id"):
        await history.training_set("trend", labels=labels)
