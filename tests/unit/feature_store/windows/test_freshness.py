"""Which watermark rows go by that may have been read a while ago."""

from __future__ import annotations

from dataclasses import replace

from feature_store.types import Status
from feature_store.windows.freshness import StreamFreshness
from feature_store.windows.reader import WindowReader
from registry.watermarks import ViewGeneration
from tests.support.windowed_view import MINUTE_US, NOW_US, window, windowed_view

KEPT, READ_NOW = ViewGeneration(3, 1), ViewGeneration(4, 1)
HOUR_US = 60 * MINUTE_US


def test_kept_rows_have_the_watermark_of_when_they_may_have_been_read() -> None:
    freshness = StreamFreshness()
    freshness.keep(KEPT, 30.0)
    for second in range(100):
        freshness.tell({KEPT: second, READ_NOW: second}, 1000.0 + second)
        assert freshness.lowest_us[READ_NOW] == second
        assert max(0, second - 31) <= freshness.lowest_us[KEPT] <= max(0, second - 30)


def test_kept_rows_have_no_watermark_when_there_was_none_as_they_may_have_been_read() -> None:
    freshness = StreamFreshness()
    freshness.keep(KEPT, 30.0)
    freshness.tell({}, 1000.0)
    freshness.tell({KEPT: 5}, 1001.0)
    assert KEPT not in freshness.lowest_us
    freshness.tell({KEPT: 6}, 1031.0)
    assert freshness.lowest_us[KEPT] == 5


def test_kept_row_is_stale_when_its_stream_has_caught_up_since_it_was_read() -> None:
    view = replace(windowed_view({"n": window("count")}), near_cache_us=30_000_000)
    freshness = StreamFreshness()
    reader = WindowReader(view, 1, freshness)
    freshness.tell({KEPT: NOW_US - HOUR_US}, 1000.0)
    assert reader.decode([None], NOW_US).row_statuses.tolist() == [Status.STALE]
    freshness.tell({KEPT: NOW_US}, 1001.0)
    assert reader.decode([None], NOW_US).row_statuses.tolist() == [Status.STALE]
    freshness.tell({KEPT: NOW_US + 30_000_000}, 1031.0)
    assert reader.decode([None], NOW_US + 30_000_000).row_statuses.tolist() == [Status.PRESENT]
