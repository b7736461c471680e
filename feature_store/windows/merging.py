"""Tiles into aggregates: for each window, the tiles that it covers merged row by row. Compiled once per view;
reader.py finds the tiles, and makes rows of what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store.windows.covering import covered_tiles
from feature_store.windows.ring_row import RingForm
from registry.data_definitions import Window

Floats = NDArray[np.float64]


class Tiles:
    """The tiles of k rows, each of which has some: (m, width) float64, row after row.

    Shapes: starts (k,), where each row's tiles begin; owners (m,), whose each tile is; covered (m,), those
    that a window covers.
    """

    def __init__(self, tiles: Floats, counts: NDArray[np.intp], covered: NDArray[np.bool_]) -> None:
        self.values = tiles
        self.covered = covered
        self.starts = np.cumsum(counts) - counts
        self.owners = np.repeat(np.arange(len(counts)), counts)

    def total(self, column: int) -> Floats:
        """Return the sum of a column over each row's covered tiles, (k,)."""
        return np.add.reduceat(np.where(self.covered, self.values[:, column], 0.0), self.starts)

    def least(self, column: int) -> Floats:
        """Return the least of a column, (k,); infinite where nothing is covered."""
        return np.minimum.reduceat(np.where(self.covered, self.values[:, column], np.inf), self.starts)

    def greatest(self, column: int) -> Floats:
        """Return the greatest of a column, (k,); minus infinity where nothing is covered."""
        return np.maximum.reduceat(np.where(self.covered, self.values[:, column], -np.inf), self.starts)

    def last(self, column: int) -> Floats:
        """Return the value of the latest event, (k,); NaN where there is none."""
        latest_us = self.greatest(column + 1)
        held = self.covered & (self.values[:, column + 1] == latest_us[self.owners])
        held &= np.isfinite(self.values[:, column + 1])
        found = np.full(len(self.starts), np.nan)
        found[self.owners[held]] = self.values[held, column]
        return found

    def spread(self, count: int, total: int, m2: int) -> Floats:
        """Return the sum of squared differences from the mean of all covered values, (k,).

        Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American
        Statistician 37 (1983), formula 2.1: exact in what the parts are, whatever their means.
        """
        counts, totals = self.values[:, count], self.values[:, total]
        means = _quotient(self.total(total), self.total(count))[self.owners]
        apart = np.where(counts > 0, _quotient(totals, counts) - means, 0.0)
        between = np.where(self.covered, self.values[:, m2] + counts * apart * apart, 0.0)
        return np.add.reduceat(between, self.starts)


@dataclass(frozen=True, slots=True)
class WindowMerge:
    """One window: its tiles of the ring, and the columns of the parts that it needs."""

    name: str
    aggregate: str
    over_us: int
    tile_us: int
    columns: Mapping[str, int]

    def of(self, tiles: Tiles) -> Floats:
        """Return the aggregate of each row, (k,); NaN where there is none."""
        at = self.columns
        match self.aggregate:
            case "count" | "sum":
                return tiles.total(at[self.aggregate])
            case "mean":
                return _quotient(tiles.total(at["sum"]), tiles.total(at["count"]))
            case "stddev":
                counts = tiles.total(at["count"])
                return np.sqrt(_quotient(tiles.spread(at["count"], at["sum"], at["m2"]), counts - 1))
            case "min":
                return _finite(tiles.least(at["min"]))
            case "max":
                return _finite(tiles.greatest(at["max"]))
            case _:
                return tiles.last(at["last"])


def compile_windows(form: RingForm, windows: Mapping[str, Window]) -> tuple[WindowMerge, ...]:
    """Return how each window is made of the ring's parts, those that cover the same tiles side by side."""
    offsets = {field.name: own for field, own in zip(form.ring.fields, form.offsets, strict=True)}
    merges = [
        WindowMerge(name, aggregate, window.over_us, window.tile_us, offsets[field])
        for name, window in windows.items()
        for aggregate, field in window.aggregates.items()
    ]
    return tuple(sorted(merges, key=lambda merge: (merge.over_us, merge.tile_us)))


def merged(
    form: RingForm,
    merges: tuple[WindowMerge, ...],
    tiles: Floats,
    counts: NDArray[np.intp],
    now_us: int | NDArray[np.int64],
) -> dict[str, Floats]:
    """Return each window's aggregate for each row, (k,) float64, by the window's name: at one instant, or
    each row at its own.

    Shapes: tiles (m, width); counts (k,), how many are each row's, none of them 0; now_us (k,) where each row
    has its own.
    """
    if not isinstance(now_us, int):
        now_us = np.repeat(now_us, counts)
    found: dict[str, Floats] = {}
    span, of_span = (0, 0), Tiles(tiles, counts, np.zeros(len(tiles), np.bool_))
    with np.errstate(all="ignore"):  # Of stored bytes anything may come.
        for merge in merges:
            if span != (merge.over_us, merge.tile_us):
                span = merge.over_us, merge.tile_us
                of_span.covered = covered_tiles(tiles[:, 0], now_us, *span, form.ring.tile_us)
            found[merge.name] = merge.of(of_span)
    return found


def _quotient(values: Floats, counts: Floats) -> Floats:
    return np.where(counts > 0, values / np.where(counts > 0, counts, 1.0), np.nan)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)
