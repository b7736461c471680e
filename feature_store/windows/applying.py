"""What applying events to a row means, said in plain Python: the executable specification of
lua/apply_events.lua. The reference store works with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feature_store.row_header import is_tombstone, row_times
from feature_store.windows.covering import tile_number
from feature_store.windows.events import EventOutcome
from feature_store.windows.ring_row import (
    MAX_KEPT_TILES,
    MAX_POSITIONS,
    RingForm,
    RingRow,
    pack_ring,
    unpack_ring,
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a row sees it; `values` in the order of the ring's fields, NaN for what isn't there."""

    position: int
    event_time_us: int
    values: tuple[float, ...]


def apply_to_row(
    form: RingForm, stored: bytes | None, source: bytes, events: Sequence[Event], now_us: int
) -> tuple[bytes | None, list[EventOutcome]]:
    """Return the row after `events` of one source, in order, or None where it stays as it is; and what became
    of each event.

    An event whose position isn't above the row's position for `source` is REPEATED. Any other moves that
    position, and is DELETED, LATE or applied to its tile. The ring reaches back from the newest tile that has
    an event, but not from one in the future of `now_us`, the caller's clock.
    """
    row = _row(form, stored)
    if row is None:
        return None, [EventOutcome.CORRUPT] * len(events)
    if not _make_room(row, source):
        return None, [EventOutcome.CROWDED] * len(events)
    outcomes = [_apply(form, row, source, event, now_us) for event in events]
    if not row.tiles or not any(outcome is not EventOutcome.REPEATED for outcome in outcomes):
        return None, outcomes
    edge = _edge(form, max(row.tiles), now_us)
    kept = sorted(number for number in row.tiles if number > edge)[-MAX_KEPT_TILES:]
    row.tiles = {number: row.tiles[number] for number in kept}
    row.write_time_us = now_us
    return pack_ring(form, row), outcomes


def _row(form: RingForm, stored: bytes | None) -> RingRow | None:
    if stored is None:
        return RingRow()
    if is_tombstone(stored):
        return RingRow(deleted_us=row_times(stored)[0])
    return unpack_ring(form, stored)


def _make_room(row: RingRow, source: bytes) -> bool:
    """Drop the position of another incarnation where there is no place for this source's; return whether
    there is now.
    """
    if source in row.positions or len(row.positions) < MAX_POSITIONS:
        return True
    for other in row.positions:
        if other[:8] != source[:8]:
            del row.positions[other]
            return True
    return False


def _apply(form: RingForm, row: RingRow, source: bytes, event: Event, now_us: int) -> EventOutcome:
    if event.position <= row.positions.get(source, -1):
        return EventOutcome.REPEATED
    row.positions.pop(source, None)
    row.positions[source] = event.position
    if event.event_time_us <= row.deleted_us:
        return EventOutcome.DELETED
    number = tile_number(event.event_time_us, form.ring.tile_us)
    newest = max([number, *row.tiles])
    if number <= _edge(form, newest, now_us):
        return EventOutcome.LATE
    tile = row.tiles.setdefault(number, list(form.identity))
    for value, offsets in zip(event.values, form.offsets, strict=True):
        if value == value:
            _add(tile, offsets, value, event.event_time_us)
    row.event_time_us = max(row.event_time_us, event.event_time_us)
    return EventOutcome.APPLIED


def _edge(form: RingForm, newest: int, now_us: int) -> int:
    """Return the number of the newest tile that has left the ring."""
    return min(newest, tile_number(now_us, form.ring.tile_us)) - form.ring.tile_count


def _add(tile: list[float], offsets: dict[str, int], value: float, event_time_us: int) -> None:
    """Add one value to a tile's parts.

    Source, of m2: Youngs and Cramer, "Some results relevant to choice of sum and sum-of-product algorithms",
    Technometrics 13 (1971): it loses no digits where the values are large and their spread is small, as a sum
    of squares does.
    """
    places = {part: offset - 1 for part, offset in offsets.items()}
    if "count" in places:
        tile[places["count"]] += 1
    if "sum" in places:
        tile[places["sum"]] += value
    if "m2" in places:
        count, total = tile[places["count"]], tile[places["sum"]]
        if count > 1:
            apart = count * value - total
            tile[places["m2"]] += apart * apart / (count * (count - 1))
    if "min" in places:
        tile[places["min"]] = min(tile[places["min"]], value)
    if "max" in places:
        tile[places["max"]] = max(tile[places["max"]], value)
    if "last" in places:
        at = places["last"]
        tile[at : at + 2] = _later(tile[at], tile[at + 1], value, float(event_time_us))


def _later(value: float, time_us: float, other: float, other_us: float) -> tuple[float, float]:
    """Return the value of the later event; of two at one instant the greater, in whatever order they come."""
    if other_us > time_us or (other_us == time_us and other > value):
        return other, other_us
    return value, time_us
