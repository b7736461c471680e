"""Rows of tiles into row blocks: what a view over a stream reads as at an instant. merging.py makes features
of the tiles; what comes of it are rows like others, so that row_block.py does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from forebay.errors import NotUsable
from numpy.typing import NDArray

from feature_store.layout import EVENT_US, NULLS, WRITE_US
from feature_store.row_block import RowBlock
from feature_store.row_header import is_tombstone
from feature_store.schema import FeatureView
from feature_store.template import template_row
from feature_store.types import Status
from feature_store.view_reader import ViewReader, shared_statuses
from feature_store.windows.freshness import StreamFreshness
from feature_store.windows.merging import compile_windows, merged
from feature_store.windows.ring_row import FIXED_BYTES, POSITION_BYTES
from registry.watermarks import ViewGeneration

WITHHELD: Final = bytes(bytearray(b"withheld"))
"""Stands in the place of a row that wasn't read, or may not be used: of a view over a stream, no row says
that there were no events. To be told by identity alone."""

_FIXED = np.dtype(
    {
        "names": ["head", EVENT_US, WRITE_US, "tiles", "positions"],
        "formats": ["<u4", "<i8", "<i8", "<u2", "<u2"],
        "offsets": [0, 4, 12, 20, 22],
        "itemsize": FIXED_BYTES,
    }
)


class _Unfit(NamedTuple):
    """Rows that have no windows: in error, and withheld, (n,) bool each."""

    errors: NDArray[np.bool_]
    withheld: NDArray[np.bool_]


class WindowReader(ViewReader):
    """Reads a view over a stream, as ViewReader reads others.

    Every entity has its windows: without a row, count and sum are 0 and the others null. All are PRESENT
    while the stream's lowest watermark is within the view's max_age, else STALE; STALE too where there is no
    watermark yet. `generation` None: nothing is read, and all is NOT_FOUND.

    Raises: NotUsable for a view that isn't over a stream.
    """

    absent_row = WITHHELD

    def __init__(self, view: FeatureView, generation: int | None, freshness: StreamFreshness) -> None:
        super().__init__(view, generation, None)
        if view.ring is None:
            raise NotUsable(f"view {view.name} isn't over a stream")
        self._form = view.ring
        self._freshness = freshness
        self._place = ViewGeneration(view.view_id, generation or 0)
        if self.near_cache_s:
            freshness.keep(self._place, self.near_cache_s)
        self._spans = compile_windows(view.ring, view.windows)
        self._head = int.from_bytes(view.ring.head, "little")
        self._empty = view.ring.head.ljust(FIXED_BYTES, b"\0")
        layout = self._layout
        self._null_record = np.frombuffer(template_row(layout), layout.record)
        self._absent_record = np.frombuffer(self._absent_row, layout.record)
        self._identity = self._null_record.copy()
        for name, window in view.windows.items():
            if window.count is not None or window.sum is not None:
                self._identity[layout.slots[name].field][0, layout.slots[name].start] = 0
        if layout.null_bit_count:
            self._identity[NULLS] = 0
        self._float_fields = [
            field
            for field in {slot.field: slot for slot in layout.slots.values()}
            if layout.record[field].base.kind == "f"
        ]

    @property
    def as_of_us(self) -> int | None:
        """The lowest watermark of the stream's partitions; None where there is none yet."""
        return self._freshness.lowest_us.get(self._place)

    def decode(self, rows: Sequence[bytes | None], now_us: int) -> RowBlock:
        """Return the windows of each row at `now_us`.

        A row that isn't of the view's ring, or has a wrong length, is in ERROR; one that is WITHHELD is
        NOT_FOUND. A tombstone is a row without events.
        Cost: a few passes over the rows' list, one copy of their tiles, some twenty array operations, and a
        few for each window.
        """
        if self.generation is None:
            rows = [WITHHELD] * len(rows)
        empty = self._empty
        present = [empty if row is None else row for row in rows]
        fixed = self._fixed_parts(present)
        counts, unfit = fixed["tiles"].astype(np.intp), None
        if not self._fit(present, fixed, counts, rows.count(None)):
            present, fixed, counts, unfit = self._mended(rows)
        records = np.repeat(self._identity, len(rows))
        records[EVENT_US], records[WRITE_US] = fixed[EVENT_US], fixed[WRITE_US]
        self._fill(records, present, counts, now_us)
        return self._block_of(records, now_us, unfit)

    def _fixed_parts(self, rows: Sequence[bytes]) -> NDArray[np.void]:
        """Return what each row begins with, (n,); of rows that are too short as many as there is room for."""
        parts = b"".join([row[:FIXED_BYTES] for row in rows])
        return np.frombuffer(parts, _FIXED, len(parts) // FIXED_BYTES)

    def _fit(
        self, rows: Sequence[bytes], fixed: NDArray[np.void], counts: NDArray[np.intp], empty_count: int
    ) -> bool:
        """Return whether all rows are of the ring, as long as they say, and have tiles, but for `empty_count`
        that stand for none.
        """
        if len(fixed) != len(rows) or np.count_nonzero(counts) != len(rows) - empty_count:
            return False
        if fixed["head"].tobytes() != self._form.head * len(rows):
            return False
        lengths: list[int] = self._lengths(fixed, counts).tolist()
        return lengths == list(map(len, rows))

    def _lengths(self, fixed: NDArray[np.void], counts: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return how long rows that begin so must be, (n,)."""
        tail_bytes = fixed["positions"].astype(np.intp) * POSITION_BYTES
        lengths: NDArray[np.intp] = counts * self._form.tile_bytes + tail_bytes + FIXED_BYTES
        return lengths

    def _mended(
        self, rows: Sequence[bytes | None]
    ) -> tuple[list[bytes], NDArray[np.void], NDArray[np.intp], _Unfit]:
        """Return the rows, those that can't be used as if they had no tiles; what each begins with; how many
        tiles each has; and which those are.
        """
        withheld = np.array([row is WITHHELD for row in rows], np.bool_)
        none = np.array([row is None or is_tombstone(row) for row in rows], np.bool_)
        present = [row if row is not None and len(row) >= FIXED_BYTES else self._empty for row in rows]
        fixed = self._fixed_parts(present)
        counts = fixed["tiles"].astype(np.intp)
        lengths = np.array(list(map(len, present)), np.intp)
        whole = (fixed["head"] == self._head) & (lengths == self._lengths(fixed, counts))
        sound = none | (whole & (counts > 0))
        return present, fixed, np.where(sound, counts, 0), _Unfit(~(sound | withheld), withheld)

    def _fill(
        self, records: NDArray[np.void], rows: list[bytes], counts: NDArray[np.intp], now_us: int
    ) -> None:
        """Write the windows of the rows that have tiles into their records; `counts` (n,) says how many."""
        stops = (FIXED_BYTES + counts * self._form.tile_bytes).tolist()
        body = b"".join([row[FIXED_BYTES:stop] for row, stop in zip(rows, stops, strict=True)])
        if not body:
            return
        having: NDArray[np.intp] | slice = slice(None)
        if not counts.all():
            having = np.flatnonzero(counts)
            counts = counts[having]
        values = np.frombuffer(body, "<f8").reshape(-1, self._form.width)  # (m, width)
        found = merged(self._form, self._spans, values, counts, now_us)
        slots = self._layout.slots
        with np.errstate(invalid="ignore"):  # A count of what is corrupt inside may be no integer.
            for name, column in found.items():
                slot = slots[name]
                records[slot.field][having, slot.start] = column

    def _block_of(self, records: NDArray[np.void], now_us: int, unfit: _Unfit | None) -> RowBlock:
        as_of_us, max_age_us = self.as_of_us, self.view.max_age_us
        fresh = as_of_us is not None and (max_age_us is None or as_of_us >= now_us - max_age_us)
        statuses = shared_statuses(Status.PRESENT if fresh else Status.STALE, len(records))
        error_rows = None
        if unfit is not None:
            records[unfit.errors], records[unfit.withheld] = self._null_record, self._absent_record
            statuses = np.where(unfit.withheld, np.uint8(Status.NOT_FOUND), statuses)
            statuses = np.where(unfit.errors, np.uint8(Status.ERROR), statuses)
            error_rows = np.flatnonzero(unfit.errors) if unfit.errors.any() else None
        has_nulls = unfit is not None or any(np.isnan(records[field]).any() for field in self._float_fields)
        return RowBlock(
            self.view,
            self._layout,
            records,
            statuses,
            has_nulls=has_nulls,
            generation_as_of_us=as_of_us or 0,
            error_rows=error_rows,
            is_whole=fresh and not has_nulls and len(records) > 0,
        )
