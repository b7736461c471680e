"""Rows of tiles into row blocks: what a view over a stream reads as at an instant. merging.py makes features
of the tiles; what comes of it are rows like others, so that row_block.py does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
from registry.dtypes import Scalar
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


_MOST_COUNTED = 2.0**53


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
        self._merges = compile_windows(view.ring, view.windows)
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
        Cost: three passes over the rows' list, one copy of their tiles, and about ten array operations for
        each window.
        """
        withheld = np.array([row is WITHHELD for row in rows], np.bool_)  # (n,)
        if self.generation is None:
            withheld[:] = True
        present, fixed, sound = self._fixed_parts(rows)
        errors = ~(sound | withheld)
        records = np.repeat(self._identity, len(rows))
        records[EVENT_US], records[WRITE_US] = fixed[EVENT_US], fixed[WRITE_US]
        self._fill(records, present, np.where(sound, fixed["tiles"], 0).astype(np.intp), now_us)
        records[errors], records[withheld] = self._null_record, self._absent_record
        return self._block_of(records, now_us, errors, withheld)

    def _fixed_parts(
        self, rows: Sequence[bytes | None]
    ) -> tuple[list[bytes], NDArray[np.void], NDArray[np.bool_]]:
        """Return the rows, what isn't one as a row without tiles; what each begins with; which are sound."""
        empty = self._empty
        present = [empty if row is None else row for row in rows]
        lengths = np.fromiter(map(len, present), np.intp, len(present))
        none = np.array([row is empty for row in present], np.bool_)
        if (lengths < FIXED_BYTES).any():
            none = np.array([row is empty or is_tombstone(row) for row in present], np.bool_)
            present = [empty if len(row) < FIXED_BYTES else row for row in present]
        fixed = np.frombuffer(b"".join([row[:FIXED_BYTES] for row in present]), _FIXED)
        expected = FIXED_BYTES + fixed["tiles"] * self._form.tile_bytes + fixed["positions"] * POSITION_BYTES
        sound = (fixed["head"] == self._head) & (lengths == expected) & (fixed["tiles"] > 0)
        return present, fixed, sound | none

    def _fill(
        self, records: NDArray[np.void], rows: list[bytes], counts: NDArray[np.intp], now_us: int
    ) -> None:
        """Write the windows of the rows that have tiles into their records; `counts` (n,) says how many."""
        having = np.flatnonzero(counts)
        if not len(having):
            return
        stops = (FIXED_BYTES + counts * self._form.tile_bytes).tolist()
        body = b"".join([row[FIXED_BYTES:stop] for row, stop in zip(rows, stops, strict=True)])
        tiles = np.frombuffer(body, "<f8").reshape(-1, self._form.width)  # (m, width)
        slots = self._layout.slots
        for name, values in merged(self._form, self._merges, tiles, counts[having], now_us).items():
            slot = slots[name]
            is_count = slot.feature.dtype.scalar is Scalar.INT64
            column = np.clip(np.nan_to_num(values), 0.0, _MOST_COUNTED) if is_count else values
            records[slot.field][having, slot.start] = column

    def _block_of(
        self,
        records: NDArray[np.void],
        now_us: int,
        errors: NDArray[np.bool_],
        withheld: NDArray[np.bool_],
    ) -> RowBlock:
        as_of_us, max_age_us = self.as_of_us, self.view.max_age_us
        fresh = as_of_us is not None and (max_age_us is None or as_of_us >= now_us - max_age_us)
        statuses = shared_statuses(Status.PRESENT if fresh else Status.STALE, len(records))
        all_sound = not (errors.any() or withheld.any())
        if not all_sound:
            statuses = np.where(withheld, np.uint8(Status.NOT_FOUND), statuses)
            statuses = np.where(errors, np.uint8(Status.ERROR), statuses)
        has_nulls = not all_sound or any(np.isnan(records[field]).any() for field in self._float_fields)
        return RowBlock(
            self.view,
            self._layout,
            records,
            statuses,
            has_nulls=has_nulls,
            generation_as_of_us=as_of_us or 0,
            error_rows=np.flatnonzero(errors) if errors.any() else None,
            is_whole=fresh and not has_nulls and len(records) > 0,
        )
