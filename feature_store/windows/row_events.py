"""A block's events sorted by row: what lua/apply_events.lua takes, and where its answers belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from feature_store.row_header import MAX_TIME_US
from feature_store.windows.events import EventBlock
from feature_store.windows.ring_row import RingForm


@dataclass(frozen=True, slots=True, eq=False)
class RowEvents:
    """The events of m rows. `keys` are theirs, each once; `packed` each row's events, in order, as the script
    takes them: position and event time i64, then a float64 per field of the ring, NaN where there is none.

    Shapes: order (n,): the events' places in the block, row by row; starts (m + 1,): where each row's begin.
    """

    keys: list[bytes]
    packed: list[bytes]
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many events each row has, (m,)."""
        return np.diff(self.starts)

    def records(self, form: RingForm, row: int) -> NDArray[np.void]:
        """Return a row's events as records: position, event_time_us, values."""
        return np.frombuffer(self.packed[row], event_record(form))

    def spans(self, most_rows: int, most_events: int) -> Iterator[slice]:
        """Yield the rows of one call each: so many rows, and so many events or one row's."""
        starts, start = self.starts.tolist(), 0
        while start < len(self.keys):
            stop = min(start + most_rows, len(self.keys))
            within = int(np.searchsorted(self.starts, starts[start] + most_events, "right")) - 1
            stop = max(start + 1, min(stop, within))
            yield slice(start, stop)
            start = stop


def event_record(form: RingForm) -> np.dtype[np.void]:
    """Return the type of one packed event."""
    return np.dtype(
        [("position", "<i8"), ("event_time_us", "<i8"), ("values", "<f8", (len(form.ring.fields),))]
    )


def row_events(form: RingForm, keys: Sequence[bytes], events: EventBlock) -> RowEvents:
    """Return the events by row; `keys` has the row key of each.

    Raises: ValueError where the block lacks a field of the ring, or `keys` and events differ in number.
    Cost: one step per event, and a few array operations.
    """
    if len(keys) != len(events):
        raise ValueError(f"{len(keys)} keys for {len(events)} events")
    numbers: dict[bytes, int] = {}
    codes = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)  # (n,)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(numbers) + 1))
    record = event_record(form)
    records = np.empty(len(keys), record)
    records["position"], records["event_time_us"] = events.positions, events.event_times_us
    for place, field in enumerate(form.ring.fields):
        if field.name not in events.values:
            raise ValueError(f"the events have no field {field.name}")
        records["values"][:, place] = events.values[field.name]
    data, size = records[order].tobytes(), record.itemsize
    ends = (starts * size).tolist()
    packed = [data[start:stop] for start, stop in pairwise(ends)]
    return RowEvents(list(numbers), packed, order, starts)


def script_arguments(form: RingForm, events: EventBlock, now_us: int, kept_s: float) -> list[bytes]:
    """Return what the script is told besides the keys and each row's events, which follow.

    Raises: ValueError for a `now_us` out of range, or a `kept_s` that isn't positive.
    """
    if not (-MAX_TIME_US <= now_us <= MAX_TIME_US and kept_s > 0):
        raise ValueError("rows are written at some time, and kept for some")
    ring = form.ring
    numbers = (now_us, ring.tile_us, ring.tile_count, int(np.ceil(kept_s * 1e3)))
    return [form.head, events.source.packed, form.part_masks, *(b"%d" % number for number in numbers)]
