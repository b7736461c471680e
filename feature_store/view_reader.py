"""Stored bytes into row blocks: a view's keys and its rows, read with one generation. The common case, every
row there and of the present schema, is one join and one array; mixed_rows.py takes the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import countOf

import numpy as np
from numpy.typing import NDArray

from feature_store.gather import GatherSpec, gather_spec
from feature_store.keys import RowKeys
from feature_store.layout import HEAD, WRITE_US, RowLayout
from feature_store.mixed_rows import MixedRows
from feature_store.row_block import RowBlock
from feature_store.row_header import HAS_NULLS
from feature_store.schema import FeatureView
from feature_store.template import template_row
from feature_store.types import Status

_FLAGS_SHIFT = 24
_NOT_FOUND = np.uint8(Status.NOT_FOUND)
_SHARED_ROWS = 4_096
_FEW_ROWS = 64


class ViewReader:
    """Reads one view at one generation; made once per release, used by any number of requests.

    `generation` None: a swap view that was never refreshed. Then there is nothing to read: `absent(n)` is
    every answer. `as_of_us` is the generation's data-complete time for a swap view, and isn't used for an
    upsert view, whose rows' age counts from their write time.

    `absent_row` is what decodes as NOT_FOUND, whatever the view.
    Raises: ValueError for a swap view's generation without an as-of time.
    """

    absent_row: bytes | None = None

    def __init__(self, view: FeatureView, generation: int | None, as_of_us: int | None) -> None:
        if view.publish == "swap" and generation is not None and as_of_us is None:
            raise ValueError(f"view {view.name}: generation {generation} has no as-of time")
        self.view = view
        self.features = {feature.name: feature for feature in view.schema.features}
        self.generation = generation
        self.near_cache_s = view.near_cache_us / 1e6
        self._as_of_us = as_of_us if view.publish == "swap" else None
        self._keys = None if generation is None else RowKeys(view.entity_id, view.view_id, generation)
        layout = self._layout = RowLayout(view.schema)
        self._mixed = MixedRows(layout, [RowLayout(schema) for schema in view.older])
        self._absent_row = template_row(layout, with_defaults=True)
        self._clean_head = layout.clean_head
        self._heads = np.frombuffer(layout.clean_head + layout.nulls_head, "<u4")

    @property
    def as_of_us(self) -> int | None:
        """The time until which the generation's data is complete; None where each row has its own."""
        return self._as_of_us

    @property
    def published(self) -> bool:
        """Whether there is anything to read."""
        return self.generation is not None

    def row_keys(self, texts: Sequence[str]) -> list[bytes]:
        """Return the row key of each canonical entity text; none at all where `generation` is None."""
        return [] if self._keys is None else self._keys.of(texts)

    def gather_spec(self, features: Sequence[str], out_columns: Sequence[int]) -> GatherSpec:
        """Compile where features go in a matrix: `features[i]` fills columns from `out_columns[i]` on.

        Raises: NotFound for an unknown feature; NotUsable for a string or a variable list.
        """
        return gather_spec(self._layout, features, out_columns)

    def scalar_place(self, feature: str) -> tuple[str, int] | None:
        """Return which field of the record a feature lies in, and which of its elements it is; None for lists
        and strings. Raises: KeyError for an unknown feature."""
        slot = self._layout.slots[feature]
        return (slot.field, slot.start) if slot.is_scalar else None

    def absent(self, count: int) -> RowBlock:
        """Return `count` rows that aren't there."""
        return self.decode([self.absent_row] * count, 0)

    def decode(self, rows: Sequence[bytes | None], now_us: int) -> RowBlock:
        """Return the rows, their age taken at `now_us`.

        A row with a wrong length, an unknown schema or format version, or ends that don't ascend is in ERROR,
        whatever bytes it holds; nothing is raised. A tombstone is a row that isn't there.
        Cost: two passes over the rows' list and one copy of the bytes; a few array operations. Rows of older
        schemas and tombstones cost more, per schema and row.
        """
        if len(rows) == 0:
            return self._block(np.empty(0, self._layout.record), now_us, has_nulls=False)
        missing = None
        try:
            records = self._records(rows)  # type: ignore[arg-type]
            present: Sequence[bytes] = rows  # type: ignore[assignment]
        except TypeError:  # a None has no length and can't be joined
            missing = np.array([row is None for row in rows])
            present = [self._absent_row if row is None else row for row in rows]
            records = self._records(present)
        if records is None:
            return self._mixed_block(rows, now_us)
        if records[HEAD].tobytes() == self._clean_head * len(rows):
            return self._block(records, now_us, has_nulls=False, rows=present, missing=missing)
        if not ((records[HEAD] | (HAS_NULLS << _FLAGS_SHIFT)) == self._heads[1]).all():
            return self._mixed_block(rows, now_us)
        return self._block(records, now_us, has_nulls=True, rows=present, missing=missing)

    def _records(self, rows: Sequence[bytes]) -> NDArray[np.void] | None:
        """Return the fixed parts as records; None where a length is wrong. Raises: TypeError for a None."""
        layout = self._layout
        if not layout.variable:
            if countOf(map(len, rows), layout.fixed_bytes) != len(rows):
                return None
            return np.frombuffer(b"".join(rows), layout.record)
        size = layout.fixed_bytes
        fixed = b"".join([row[:size] for row in rows])
        if len(fixed) != size * len(rows):
            return None
        records = np.frombuffer(fixed, layout.record)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return records if layout.has_sound_tails(records, lengths).all() else None

    def _mixed_block(self, rows: Sequence[bytes | None], now_us: int) -> RowBlock:
        records, tails, missing, errors = self._mixed.decode(rows)
        return self._block(records, now_us, has_nulls=True, tails=tails, missing=missing, error_rows=errors)

    def _block(
        self,
        records: NDArray[np.void],
        now_us: int,
        *,
        has_nulls: bool,
        rows: Sequence[bytes] = (),
        tails: dict[str, list[bytes]] | None = None,
        missing: NDArray[np.bool_] | None = None,
        error_rows: NDArray[np.intp] | None = None,
    ) -> RowBlock:
        statuses = self._ages(records, now_us)
        is_whole = not has_nulls and missing is None and len(records) > 0 and _is_shared_present(statuses)
        if missing is not None:
            statuses = np.where(missing, _NOT_FOUND, statuses)
        if error_rows is not None:
            statuses = statuses.copy()
            statuses[error_rows] = Status.ERROR
        return RowBlock(
            self.view,
            self._layout,
            records,
            statuses,
            has_nulls=has_nulls,
            generation_as_of_us=self._as_of_us,
            rows=rows,
            tails=tails,
            error_rows=error_rows,
            is_whole=is_whole,
        )

    def _ages(self, records: NDArray[np.void], now_us: int) -> NDArray[np.uint8]:
        """Return PRESENT or STALE per row; a shared array where all are the same."""
        max_age_us, count = self.view.max_age_us, len(records)
        if max_age_us is None or not count:
            return shared_statuses(Status.PRESENT, count)
        oldest_fresh_us = now_us - max_age_us
        if self._as_of_us is not None:
            return shared_statuses(
                Status.PRESENT if self._as_of_us >= oldest_fresh_us else Status.STALE, count
            )
        write_times_us = records[WRITE_US]
        if _least(write_times_us) >= oldest_fresh_us:
            return shared_statuses(Status.PRESENT, count)
        stale = write_times_us < oldest_fresh_us
        return np.where(stale, np.uint8(Status.STALE), np.uint8(Status.PRESENT))


def _least(times_us: NDArray[np.int64]) -> int:
    """Return the least; of a few, Python finds it sooner than numpy is called."""
    return min(times_us.tolist()) if len(times_us) <= _FEW_ROWS else int(np.minimum.reduce(times_us))


def _shared(status: Status) -> NDArray[np.uint8]:
    statuses = np.full(_SHARED_ROWS, status, np.uint8)
    statuses.flags.writeable = False
    return statuses


_SHARED = {status: _shared(status) for status in (Status.PRESENT, Status.STALE)}


def shared_statuses(status: Status, count: int) -> NDArray[np.uint8]:
    """Return (count,) of one status, PRESENT or STALE; shared: don't write into it."""
    return _SHARED[status][:count] if count <= _SHARED_ROWS else np.full(count, status, np.uint8)


def _is_shared_present(statuses: NDArray[np.uint8]) -> bool:
    return statuses.base is _SHARED[Status.PRESENT]
