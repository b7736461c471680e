"""The bytes of a row of tiles. It is

    header      20 bytes, row_header.py: event time of the newest event applied, write time of the last change
    tile count  u16
    positions   u16, how many there are
    deleted     i64, event time of the last deletion: nothing up to it is taken; NEVER_DELETED for none
    tiles       ascending by number, those that have events; each is float64s: its number, then the parts
                (registry/rings.PARTS) of each field in the order of the ring: count, sum, m2, min, max, and
                last's value and its event time
    positions   the one that changed last at the end: source (u64 incarnation, u32 partition), i64 position

A part of no event is 0, +inf for min, -inf for max, and for last 0 at -inf. All is little-endian, unpadded.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from feature_store.row_header import FORMAT_VERSION, HEADER_BYTES, MAX_TIME_US
from registry.rings import PARTS, Ring

RING = 4
"""A flag of the header: the row is of tiles."""
FIXED_BYTES = 32
"""Of the header and the counts."""
POSITION_BYTES = 20
MAX_POSITIONS = 256
"""Sources whose position a row keeps. One that comes after that takes the place of another incarnation's; if
all are of its own, it isn't taken in."""
MAX_KEPT_TILES = 2 * 64
"""More than a ring has: events from the future must not push out tiles that windows cover now."""
NEVER_DELETED = -MAX_TIME_US - 1

_FIXED = struct.Struct("<HBBqqHHq")
_POSITION = struct.Struct("<12sq")
_IDENTITIES = {
    "count": (0.0,),
    "sum": (0.0,),
    "m2": (0.0,),
    "min": (math.inf,),
    "max": (-math.inf,),
    "last": (0.0, -math.inf),
}


@dataclass(frozen=True, slots=True)
class RingForm:
    """A ring as it lies in the rows of a view. `schema_id` is the layout's, unique in the view.

    `offsets` say for each field where each of its parts lies in a tile, in float64s; `identity` is a tile
    without events, but for its number; `width` the float64s of a tile.
    """

    schema_id: int
    ring: Ring
    head: bytes = field(init=False)
    offsets: tuple[dict[str, int], ...] = field(init=False)
    identity: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        offsets: list[dict[str, int]] = []
        identity: list[float] = []
        for ring_field in self.ring.fields:
            own: dict[str, int] = {}
            for part in ring_field.parts:
                own[part] = 1 + len(identity)
                identity += _IDENTITIES[part]
            offsets.append(own)
        object.__setattr__(self, "head", struct.pack("<HBB", self.schema_id, FORMAT_VERSION, RING))
        object.__setattr__(self, "offsets", tuple(offsets))
        object.__setattr__(self, "identity", tuple(identity))

    @property
    def width(self) -> int:
        return 1 + len(self.identity)

    @property
    def tile_bytes(self) -> int:
        return 8 * self.width

    @property
    def part_masks(self) -> bytes:
        """One byte per field: bit i stands for PARTS[i]."""
        return bytes(
            sum(1 << place for place, part in enumerate(PARTS) if part in own) for own in self.offsets
        )


@dataclass(slots=True)
class RingRow:
    """A row of tiles, taken apart: for the reference store and for tests, not for reading many."""

    event_time_us: int = NEVER_DELETED
    write_time_us: int = 0
    deleted_us: int = NEVER_DELETED
    tiles: dict[int, list[float]] = field(default_factory=dict)
    """By number, in any order; each of them parts, without the number."""
    positions: dict[bytes, int] = field(default_factory=dict)
    """By source; the one that changed last is the last."""


def is_ring(row: bytes) -> bool:
    """Return whether `row` says of itself that it is of tiles."""
    return len(row) >= HEADER_BYTES and row[2] == FORMAT_VERSION and row[3] == RING


def pack_ring(form: RingForm, row: RingRow) -> bytes:
    """Return the bytes of `row`."""
    tile = struct.Struct(f"<{form.width}d")
    fixed = _FIXED.pack(
        form.schema_id,
        FORMAT_VERSION,
        RING,
        row.event_time_us,
        row.write_time_us,
        len(row.tiles),
        len(row.positions),
        row.deleted_us,
    )
    tiles = (tile.pack(number, *row.tiles[number]) for number in sorted(row.tiles))
    return b"".join([fixed, *tiles, *(_POSITION.pack(*pair) for pair in row.positions.items())])


def unpack_ring(form: RingForm, row: bytes) -> RingRow | None:
    """Return what `row` holds; None where it is no row of this form."""
    if len(row) < FIXED_BYTES or not row.startswith(form.head):
        return None
    _, _, _, event_time_us, write_time_us, tile_count, position_count, deleted_us = _FIXED.unpack_from(row)
    stop = FIXED_BYTES + tile_count * form.tile_bytes
    if tile_count == 0 or len(row) != stop + position_count * POSITION_BYTES:
        return None
    tiles = struct.iter_unpack(f"<{form.width}d", row[FIXED_BYTES:stop])
    return RingRow(
        event_time_us,
        write_time_us,
        deleted_us,
        {int(number): list(parts) for number, *parts in tiles},
        dict(_POSITION.iter_unpack(row[stop:])),
    )
