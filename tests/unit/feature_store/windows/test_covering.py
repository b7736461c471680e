"""Which events a window covers, and the tiles they lie in."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.row_header import MAX_TIME_US
from feature_store.windows.covering import covered_after_us, covered_tiles, tile_number

times = st.integers(-MAX_TIME_US, MAX_TIME_US)


@pytest.mark.parametrize(
    ("event_us", "number"), [(0, -1), (1, 0), (10, 0), (11, 1), (-9, -1), (-10, -2), (20, 1)]
)
def test_a_tile_holds_its_end_and_not_its_start(event_us: int, number: int) -> None:
    assert tile_number(event_us, 10) == number
    assert tile_number(np.array([event_us]), 10).tolist() == [number]


@given(now_us=times, event_us=times, tile_us=st.integers(1, 10**12), tiles=st.integers(1, 63))
def test_whole_tiles_are_covered_or_not_when_windows_are_read(
    now_us: int, event_us: int, tile_us: int, tiles: int
) -> None:
    after_us = covered_after_us(now_us, tiles * tile_us, tile_us)
    numbers = np.array([tile_number(event_us, tile_us)], np.float64)
    [covered] = covered_tiles(numbers, now_us, tiles * tile_us, tile_us, tile_us).tolist()
    if event_us <= now_us:
        assert covered == (event_us > after_us)
    assert tiles * tile_us <= now_us - after_us < (tiles + 1) * tile_us


@given(event_us=times, tile_us=st.integers(1, 10**13))
def test_doubles_number_tiles_as_integers_do(event_us: int, tile_us: int) -> None:
    assert math.floor(float(event_us - 1) / float(tile_us)) == tile_number(event_us, tile_us)
