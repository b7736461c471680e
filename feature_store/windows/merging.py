"""Tiles into aggregates: for each window, the tiles that it covers merged row by row. Compiled once per view;
reader.py finds the tiles, and makes rows of what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from feature_store.windows.covering import covered_tiles
from feature_store.windows.ring_row import RingForm
from registry.data_definitions import Window

Floats = NDArray[np.float64]
_ADDED = ("count", "sum")


class Tiles:
    """The tiles of k rows, each of which has some, and those of them that a window covers.

    Shapes: values (width, m), row after row, a part's values side by side; starts (k,), where each row's
    begin; counts (k,), how many they are; covered (m,), or None for all.
    """

    def __init__(self, values: Floats, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> None:
        self.values = values
        self.starts = starts
        self.counts = counts
        self.covered: NDArray[np.bool_] | None = None

    def cover(self, covered: NDArray[np.bool_]) -> None:
        """Take these for the tiles that are covered from now on."""
        self.covered = None if covered.all() else covered

    def totals(self, columns: NDArray[np.intp]) -> Floats:
        """Return the sums of columns over each row's covered tiles, (columns, k)."""
        values = self.values[columns]
        if self.covered is not None:
            values = np.where(self.covered, values, 0.0)
        return np.add.reduceat(values, self.starts, axis=1)

    def least(self, column: int) -> Floats:
        """Return the least of a column, (k,); infinite where nothing is covered."""
        return np.minimum.reduceat(self._column(column, np.inf), self.starts)

    def greatest(self, column: int) -> Floats:
        """Return the greatest of a column, (k,); minus infinity where nothing is covered."""
        return np.maximum.reduceat(self._column(column, -np.inf), self.starts)

    def last(self, column: int) -> Floats:
        """Return the value of the latest event, (k,); NaN where there is none."""
        times_us, owners = self._column(column + 1, -np.inf), self._owners()
        latest_us = np.maximum.reduceat(times_us, self.starts)
        held = np.isfinite(times_us) & (times_us == latest_us[owners])
        found = np.full(len(self.starts), np.nan)
        found[owners[held]] = self.values[column][held]
        return found

    def spread(self, counts: Floats, totals: Floats, columns: Mapping[str, int]) -> Floats:
        """Return the sum of squared differences from the mean of all covered values, (k,), which are `counts`
        and add up to `totals`.

        Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American
        Statistician 37 (1983), formula 2.1: exact in what the parts are, whatever their means.
        """
        its_count, its_total = self.values[columns["count"]], self.values[columns["sum"]]
        apart = its_total / its_count - (totals / counts)[self._owners()]
        between = np.where(its_count > 0, self.values[columns["m2"]] + its_count * apart * apart, 0.0)
        if self.covered is not None:
            between[~self.covered] = 0.0
        return np.add.reduceat(between, self.starts)

    def _column(self, column: int, without: float) -> Floats:
        values = self.values[column]
        return values if self.covered is None else np.where(self.covered, values, without)

    def _owners(self) -> NDArray[np.intp]:
        """Return whose each tile is, (m,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


@dataclass(frozen=True, slots=True)
class WindowMerge:
    """One window: where the parts that it needs lie in a tile, and where among the sums of its span."""

    name: str
    aggregate: str
    columns: Mapping[str, int]
    added: Mapping[str, int]

    def of(self, tiles: Tiles, sums: Floats) -> Floats:
        """Return the aggregate of each row, (k,); NaN where there is none. `sums` are the span's totals."""
        at = self.columns
        added: dict[str, Floats] = {part: sums[place] for part, place in self.added.items()}
        match self.aggregate:
            case "count" | "sum":
                return added[self.aggregate]
            case "mean":
                return added["sum"] / added["count"]
            case "stddev":
                counts = added["count"]
                spread = tiles.spread(counts, added["sum"], at)
                return np.sqrt(np.where(counts > 1, spread / (counts - 1), np.nan))
            case "min":
                return _finite(tiles.least(at["min"]))
            case "max":
                return _finite(tiles.greatest(at["max"]))
            case _:
                return tiles.last(at["last"])


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """The windows that cover the same tiles. `columns` are those whose sums they need."""

    over_us: int
    tile_us: int
    columns: NDArray[np.intp]
    merges: tuple[WindowMerge, ...]


def compile_windows(form: RingForm, windows: Mapping[str, Window]) -> tuple[Span, ...]:
    """Return how the windows are made of the ring's parts, those that cover the same tiles together."""
    offsets = {field.name: own for field, own in zip(form.ring.fields, form.offsets, strict=True)}
    by_span = sorted(windows.items(), key=lambda item: (item[1].over_us, item[1].tile_us))
    return tuple(
        _span(*span, dict(members), offsets)
        for span, members in groupby(by_span, key=lambda item: (item[1].over_us, item[1].tile_us))
    )


def _span(
    over_us: int, tile_us: int, windows: Mapping[str, Window], offsets: Mapping[str, Mapping[str, int]]
) -> Span:
    parts = {
        name: (aggregate, offsets[field])
        for name, window in windows.items()
        for aggregate, field in window.aggregates.items()
    }
    columns = sorted({own[part] for _, own in parts.values() for part in _ADDED if part in own})
    places = {column: place for place, column in enumerate(columns)}
    merges = tuple(
        WindowMerge(name, aggregate, own, {part: places[own[part]] for part in _ADDED if part in own})
        for name, (aggregate, own) in parts.items()
    )
    return Span(over_us, tile_us, np.array(columns, np.intp), merges)


def merged(
    form: RingForm,
    spans: tuple[Span, ...],
    values: Floats,
    counts: NDArray[np.intp],
    now_us: int | NDArray[np.int64],
) -> dict[str, Floats]:
    """Return each window's aggregate for each row, (k,) float64, by the window's name: at one instant, or
    each row at its own.

    Shapes: values (m, width), the tiles; counts (k,), how many are each row's, none of them 0; now_us (k,)
    where each row has its own.
    """
    if not isinstance(now_us, int):
        now_us = np.repeat(now_us, counts)
    found: dict[str, Floats] = {}
    tiles = Tiles(np.ascontiguousarray(values.T), np.cumsum(counts) - counts, counts)
    numbers = tiles.values[0]
    with np.errstate(all="ignore"):  # Without events a mean is 0 / 0; and stored bytes may be anything.
        for span in spans:
            tiles.cover(covered_tiles(numbers, now_us, span.over_us, span.tile_us, form.ring.tile_us))
            sums = tiles.totals(span.columns)
            for merge in span.merges:
                found[merge.name] = merge.of(tiles, sums)
    return found


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)
