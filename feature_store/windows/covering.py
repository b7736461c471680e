"""Which events and which tiles a window covers at an instant: the one rule, for reading online and for
training sets.

A window at `now` covers event times in (floor_tile(now) - over, now], where floor_tile(now) is the greatest
multiple of the window's tile, counted from 1970 UTC, that isn't after now. A tile holds what lies after its
start, and its end: number n is (n * tile, (n + 1) * tile]. So a window is whole tiles, and a part of one: up
to `now`. Of the part, a row tells all that was applied to it, whatever its event time.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Times = TypeVar("Times", int, NDArray[np.int64], int | NDArray[np.int64])


def covered_after_us(now_us: Times, over_us: int, tile_us: int) -> Times:
    """Return the instant, itself not covered, from which on a window of `over_us` at `now_us` covers events,
    up to `now_us` and with it.
    """
    return now_us // tile_us * tile_us - over_us


def tile_number(event_time_us: Times, tile_us: int) -> Times:
    """Return the number of the tile that holds an event."""
    return (event_time_us - 1) // tile_us


def covered_tiles(
    tiles: NDArray[Any], now_us: int | NDArray[np.int64], over_us: int, tile_us: int, ring_tile_us: int
) -> NDArray[np.bool_]:
    """Return which of the numbered `tiles`, of `ring_tile_us`, lie in a window at `now_us`, one instant for
    all or one for each; same shape.

    `ring_tile_us` divides `tile_us`, which divides `over_us`.
    """
    first = covered_after_us(now_us, over_us, tile_us) // ring_tile_us
    covered: NDArray[np.bool_] = (tiles >= first) & (tiles <= tile_number(now_us, ring_tile_us))
    return covered
