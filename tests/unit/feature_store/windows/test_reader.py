"""Windows as they are read: at the borders of tiles, without rows, stale, corrupt."""

import math
from typing import Any

import numpy as np
import pytest

from feature_store.codec import RowBlock, WindowReader
from feature_store.memory_store import MemoryStore
from feature_store.row_header import pack_tombstone
from feature_store.store import UNREAD
from feature_store.types import Status
from feature_store.windows.events import Source
from feature_store.windows.freshness import StreamFreshness
from feature_store.windows.writer import WindowWriter
from registry.data_definitions import Window
from tests.support.windowed_view import (
    EVERY_AGGREGATE,
    MINUTE_US,
    NOW_US,
    Rated,
    block_of,
    window,
    windowed_view,
)

PRESENT, NULL, NOT_FOUND, STALE, DEFAULTED, ERROR = (int(status) for status in Status)
GENERATION = 4
TILE_US = 2 * MINUTE_US
BORDER_US = NOW_US // TILE_US * TILE_US
LATER_US = BORDER_US + 20 * MINUTE_US


def reader_of(
    windows: dict[str, Window], watermark_us: int | None = LATER_US, **options: Any
) -> WindowReader:
    known = {} if watermark_us is None else {(3, GENERATION): watermark_us}
    return WindowReader(windowed_view(windows, **options), GENERATION, StreamFreshness(known))


async def rows_after(reader: WindowReader, events: list[Rated], texts: list[str]) -> list[bytes | None]:
    store = MemoryStore()
    writer = WindowWriter(reader.view, GENERATION, 60.0)
    await writer.apply(store, block_of(events, Source(1, 0)), LATER_US)
    return await store.get_many(reader.row_keys(texts))


def values(block: RowBlock, name: str) -> list[float]:
    return np.asarray(block.column(name).values, np.float64).tolist()


@pytest.mark.parametrize(
    ("now_us", "count"),
    [
        (BORDER_US - TILE_US, 0),
        (BORDER_US - 1, 1),  # Its tile has begun: what is applied to it counts.
        (BORDER_US, 1),
        (BORDER_US + 1, 2),
        (BORDER_US + TILE_US, 2),
        (BORDER_US + 5 * TILE_US - 1, 2),
        (BORDER_US + 5 * TILE_US, 1),
        (BORDER_US + 6 * TILE_US - 1, 1),
        (BORDER_US + 6 * TILE_US, 0),
    ],
)
async def test_a_window_covers_its_tiles_when_read_at_their_borders(now_us: int, count: int) -> None:
    reader = reader_of({"n": window("count")}, max_age_us=None)
    rows = await rows_after(reader, [Rated("1", BORDER_US, 1.0), Rated("1", BORDER_US + 1, 1.0)], ["1"])
    assert values(reader.decode(rows, now_us), "n") == [count]


async def test_every_aggregate_is_told_when_values_are_spread_over_tiles() -> None:
    reader = reader_of(EVERY_AGGREGATE)
    events = [
        Rated("1", BORDER_US + minutes * MINUTE_US, value)
        for minutes, value in [(1, 5.0), (5, 1.0), (3, -2.0), (5, 4.0), (4, math.nan)]
    ]
    block = reader.decode(await rows_after(reader, events, ["1", "2"]), BORDER_US + 5 * MINUTE_US)
    assert values(block, "count") == [4, 0]
    assert values(block, "sum") == [8.0, 0.0]
    assert values(block, "mean")[0] == 2.0
    assert values(block, "min")[0] == -2.0
    assert values(block, "max")[0] == 5.0
    assert values(block, "last")[0] == 4.0  # The greater of two at one instant.
    assert values(block, "stddev")[0] == pytest.approx(math.sqrt(10.0))
    for name in ("mean", "min", "max", "last", "stddev"):
        assert block.statuses(name).tolist() == [PRESENT, NULL]
    assert block.statuses("count").tolist() == [PRESENT, PRESENT]
    assert block.event_times_us.tolist() == [BORDER_US + 5 * MINUTE_US, 0]
    assert block.column("count").values.dtype == np.int64  # type: ignore[union-attr]


async def test_windows_of_one_ring_agree_when_their_tiles_differ() -> None:
    windows = {
        "short": window("sum", over="4m", tile="1m"),
        "long": window("sum", over="30m", tile="10m"),
    }
    reader = reader_of(windows, max_age_us=None)
    start_us = NOW_US // (10 * MINUTE_US) * 10 * MINUTE_US
    events = [Rated("1", start_us + minute * MINUTE_US, 1.0) for minute in range(1, 31)]
    rows = await rows_after(reader, events, ["1"])
    block = reader.decode(rows, start_us + 30 * MINUTE_US)
    assert values(block, "short") + values(block, "long") == [4.0, 30.0]
    block = reader.decode(rows, start_us + 39 * MINUTE_US)
    assert values(block, "short") + values(block, "long") == [0.0, 30.0]
    block = reader.decode(rows, start_us + 40 * MINUTE_US)
    assert values(block, "long") == [20.0]


def test_a_default_stands_for_null_when_there_are_no_events() -> None:
    reader = reader_of({"mean": window("mean", default=3.5), "n": window("count", default=7)})
    block = reader.decode([None, pack_tombstone(5)], LATER_US)
    assert values(block, "mean") == [3.5, 3.5]
    assert block.statuses("mean").tolist() == [DEFAULTED, DEFAULTED]
    assert values(block, "n") == [0, 0]
    assert block.row_statuses.tolist() == [PRESENT, PRESENT]


@pytest.mark.parametrize(
    ("watermark_us", "max_age_us", "status"),
    [
        (LATER_US - MINUTE_US, MINUTE_US, PRESENT),
        (LATER_US - MINUTE_US - 1, MINUTE_US, STALE),
        (1, None, PRESENT),
        (None, MINUTE_US, STALE),
        (None, None, STALE),
    ],
)
async def test_age_is_the_watermarks_when_windows_are_read(
    watermark_us: int | None, max_age_us: int | None, status: int
) -> None:
    reader = reader_of({"n": window("count")}, watermark_us, max_age_us=max_age_us)
    rows = await rows_after(reader, [Rated("1", LATER_US, 1.0)], ["1", "2"])
    block = reader.decode(rows, LATER_US)
    assert values(block, "n") == [1, 0]
    assert block.statuses("n").tolist() == [status, status]
    assert block.as_of_us.tolist() == [watermark_us or 0] * 2
    assert reader.as_of_us == watermark_us


async def test_corrupt_rows_are_errors_when_read() -> None:
    reader = reader_of({"mean": window("mean", default=1.0), "n": window("count")})
    [row] = await rows_after(reader, [Rated("1", LATER_US, 2.0)], ["1"])
    assert row is not None
    bad = [row[:-1], row + b"x", b"", row[:20], row[:32], b"\xff" * 60, UNREAD, row[:20] + bytes(12)]
    block = reader.decode([*bad, row, None], LATER_US)
    assert block.row_statuses.tolist() == [ERROR] * len(bad) + [PRESENT] * 2
    assert block.statuses("mean").tolist() == [ERROR] * len(bad) + [PRESENT, DEFAULTED]
    assert block.statuses("n").tolist() == [ERROR] * len(bad) + [PRESENT] * 2
    assert block.corrupt_count == len(bad)
    matrix = np.zeros((len(bad) + 2, 2), np.float32)
    block.gather(reader.gather_spec(["mean", "n"], [0, 1]), matrix)
    assert np.isnan(matrix[: len(bad)]).all()
    assert matrix[len(bad) :].tolist() == [[2.0, 1.0], [1.0, 0.0]]


async def test_anything_in_tiles_is_read_when_the_shape_is_right() -> None:
    reader = reader_of(EVERY_AGGREGATE)
    [row] = await rows_after(reader, [Rated("1", LATER_US, 2.0)], ["1"])
    assert row is not None
    wild = row[:32] + b"\xff" * (len(row) - 32)
    huge = row[:40] + np.full((len(row) - 60) // 8, 1e308).tobytes() + row[-20:]
    block = reader.decode([wild, huge[: len(row)]], LATER_US)
    assert len(values(block, "count")) == 2


def test_rows_are_not_found_when_they_are_withheld_or_never_published() -> None:
    windows = {"mean": window("mean", default=1.0), "n": window("count")}
    reader = reader_of(windows)
    block = reader.decode([reader.absent_row, None], LATER_US)
    assert block.row_statuses.tolist() == [NOT_FOUND, PRESENT]
    assert block.statuses("n").tolist() == [NOT_FOUND, PRESENT]
    assert reader.absent(2).statuses("mean").tolist() == [DEFAULTED, DEFAULTED]
    unpublished = WindowReader(reader.view, None, StreamFreshness())
    assert unpublished.decode([None], LATER_US).row_statuses.tolist() == [NOT_FOUND]
    assert len(reader.decode([], LATER_US)) == 0
