"""What a stream view's rows keep: a ring of tiles, each with the partial aggregates that its windows need.
One ring serves all windows of the view. How it lies in a row is in feature_store/windows/ring_row.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry.data_definitions import Window
from registry.durations import format_duration, parse_duration_us

MAX_TILES = 64
_RING = "(ring)"
"""Stands first in a ring's layout, where others have a feature's name."""

PARTS = ("count", "sum", "m2", "min", "max", "last")
"""The partial aggregates, in their order in a tile. `count` and `sum` are of the values that are there; `m2`
is the sum of squared differences from the tile's mean; `last` is a value and its event time."""

NEEDS: Mapping[str, frozenset[str]] = {
    "count": frozenset({"count"}),
    "sum": frozenset({"sum"}),
    "mean": frozenset({"count", "sum"}),
    "stddev": frozenset({"count", "sum", "m2"}),
    "min": frozenset({"min"}),
    "max": frozenset({"max"}),
    "last": frozenset({"last"}),
}
"""The parts that each aggregate of a window is made of."""


@dataclass(frozen=True, slots=True)
class RingField:
    """A field of the stream's events, and the parts that are kept of it, in the order of PARTS."""

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ring:
    """`tile_count` tiles of `tile_us` each, the newest and those before it, and what each of them keeps."""

    tile_us: int
    tile_count: int
    fields: tuple[RingField, ...]

    @property
    def span_us(self) -> int:
        """How far back the tiles reach, from the end of the newest."""
        return self.tile_us * self.tile_count

    def serves(self, wanted: Ring) -> bool:
        """Return whether all that `wanted` would keep can be told from this ring."""
        kept = {field.name: set(field.parts) for field in self.fields}
        return (
            wanted.tile_us % self.tile_us == 0
            and wanted.span_us <= self.span_us
            and all(set(field.parts) <= kept.get(field.name, set()) for field in wanted.fields)
        )

    def layout(self) -> tuple[tuple[str, str], ...]:
        """Return the ring as a plan stores it, among its views' layouts."""
        tiles = (_RING, f"{self.tile_count} x {format_duration(self.tile_us)}")
        return (tiles, *((field.name, " ".join(field.parts)) for field in self.fields))

    @classmethod
    def of_layout(cls, layout: Iterable[tuple[str, str]]) -> Ring:
        """Return the ring that `layout` stored. Raises: ValueError."""
        (_, tiles), *fields = layout
        count, _, tile = tiles.partition(" x ")
        return cls(
            parse_duration_us(tile),
            int(count),
            tuple(RingField(name, tuple(parts.split())) for name, parts in fields),
        )


def ring_of(windows: Iterable[Window]) -> Ring:
    """Return the least ring that serves all of `windows`: its tile divides the tile of each, it reaches back
    as far as the longest at the end of its present tile, and it keeps the parts that they need.

    It may have more than MAX_TILES, which no valid file's has. Raises: ValueError for no windows.
    """
    windows = list(windows)
    if not windows:
        raise ValueError("a ring is made of windows")
    tile_us = math.gcd(*(window.tile_us for window in windows))
    needs: dict[str, set[str]] = {}
    for window in windows:
        for aggregate, field in window.aggregates.items():
            needs.setdefault(field, set()).update(NEEDS[aggregate])
    return Ring(
        tile_us,
        max((window.over_us + window.tile_us) // tile_us for window in windows),
        tuple(
            RingField(name, tuple(part for part in PARTS if part in parts))
            for name, parts in sorted(needs.items())
        ),
    )


def is_ring_layout(layout: Sequence[tuple[str, str]]) -> bool:
    """Return whether a layout that a plan stored is a ring's."""
    return len(layout) > 0 and layout[0][0] == _RING
