"""n decoded rows of a view: their statuses, columns by name, and many columns at once into a matrix.
view_reader.py makes blocks. Nothing is computed before it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from forebay.errors import NotFound
from numpy.typing import NDArray

from feature_store.gather import (
    GatherProgram,
    GatherSpec,
    copy_values,
    default_elements,
    fill_defaults,
    mark_nulls,
)
from feature_store.layout import EVENT_US, WRITE_US, RowLayout, Slot
from feature_store.schema import FeatureView
from feature_store.tails import default_part, lists_of, strings_of, tail_parts
from feature_store.types import Status
from registry.columns import VariableLists
from registry.dtypes import Scalar


class FeatureColumn(NamedTuple):
    """One feature of n rows.

    Shapes: values (n,), or (n, length) for a fixed list, in the feature's own type; n strings; or n
    VariableLists. statuses (n,) uint8 of Status. Where a status is neither PRESENT, STALE nor DEFAULTED the
    value is a placeholder: NaN, 0, "" or an empty list. Both may be shared: don't write into them.
    """

    values: NDArray[Any] | list[str] | VariableLists
    statuses: NDArray[np.uint8]

    def take(self, rows: NDArray[np.intp]) -> FeatureColumn:
        """Return the column's rows `rows`, in that order. Cost: a copy; one step per row for strings."""
        values = self.values
        if isinstance(values, VariableLists):
            return FeatureColumn(values.take(rows), self.statuses[rows])
        if isinstance(values, list):
            return FeatureColumn([values[row] for row in rows.tolist()], self.statuses[rows])
        return FeatureColumn(values[rows], self.statuses[rows])


class RowBlock:
    """n rows of one view, in the order of the keys.

    Shapes: row_statuses (n,) uint8: PRESENT, STALE, NOT_FOUND or ERROR; read-only, and shared among blocks.
    generation_as_of_us: the as-of time of all rows, where it is one.
    is_whole: whether there are rows, all of them PRESENT, none with a null; False where that isn't known.
    error_rows: the rows with ERROR, (m,) positions, or None; corrupt_count counts them, and strings that turn
    out to be no UTF-8 when their column is asked for.
    """

    __slots__ = (
        "_absent_statuses",
        "_columns",
        "_event_times_us",
        "_has_nulls",
        "_layout",
        "_nulls",
        "_records",
        "_rows",
        "_tails",
        "_transposed",
        "corrupt_count",
        "error_rows",
        "generation_as_of_us",
        "is_whole",
        "row_statuses",
        "view",
    )

    def __init__(
        self,
        view: FeatureView,
        layout: RowLayout,
        records: NDArray[np.void],
        row_statuses: NDArray[np.uint8],
        *,
        has_nulls: bool,
        generation_as_of_us: int | None,
        rows: Sequence[bytes] = (),
        tails: dict[str, list[bytes]] | None = None,
        error_rows: NDArray[np.intp] | None = None,
        is_whole: bool = False,
    ) -> None:
        """Hold `records`, one of `layout` per row: rows that aren't there hold the defaults, rows that are in
        error are all null. `tails` has the bytes of variable features; without it they are cut from `rows`.
        `generation_as_of_us` None: the as-of time is each row's write time.
        """
        self.view = view
        self.row_statuses = row_statuses
        self.error_rows = error_rows
        self.is_whole = is_whole
        self.corrupt_count = 0 if error_rows is None else len(error_rows)
        self._layout = layout
        self._records = records
        self._rows = rows
        self._tails = tails
        self._has_nulls = has_nulls
        self.generation_as_of_us = generation_as_of_us
        self._columns: dict[str, FeatureColumn] = {}
        self._transposed: dict[str, NDArray[Any]] = {}
        self._nulls: dict[str, tuple[NDArray[np.bool_], list[bool]]] = {}
        self._absent_statuses: NDArray[np.uint8] | None = None
        self._event_times_us: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._records)

    @property
    def has_nulls(self) -> bool:
        """Whether a row may hold a null; False is certain."""
        return self._has_nulls

    @property
    def event_times_us(self) -> NDArray[np.int64]:
        """Event time of each row, (n,) int64; 0 where there is none."""
        if self._event_times_us is None:
            self._event_times_us = self._found_times(self._records[EVENT_US])
        return self._event_times_us

    @property
    def as_of_us(self) -> NDArray[np.int64]:
        """The time that each row's age counts from, (n,) int64: its generation's, or its own write time; 0
        where there is no row.
        """
        if self.generation_as_of_us is None:
            times_us: NDArray[np.int64] = self._records[WRITE_US]
            return times_us if self.is_whole else self._found_times(times_us)
        return self._found_times(np.full(len(self), self.generation_as_of_us, np.int64))

    @property
    def oldest_as_of_us(self) -> int | None:
        """The least as-of time of the rows that are there; None where there is none."""
        if self.is_whole:
            if self.generation_as_of_us is not None:
                return self.generation_as_of_us
            return int(np.minimum.reduce(self._records[WRITE_US]))
        found = self._is_found()
        if not found.any():
            return None
        if self.generation_as_of_us is not None:
            return self.generation_as_of_us
        return int(self._records[WRITE_US][found].min())

    def gather(self, spec: GatherSpec, out: NDArray[Any], rows: NDArray[np.intp] | None = None) -> None:
        """Write the spec's features into their columns of `out`, usually float32.

        Null and not found become the declared default, else NaN; rows in ERROR are NaN; stale values are
        written as they are. In float32, integers above 2**24 and float64 are rounded; a timestamp is its
        microseconds, rounded to about two minutes: subtract times before they come here. An `out` of another
        type than float holds 0 where a float would be NaN, so ask for statuses; integers are exact there.

        Shapes: out (n, width); with `rows` (m,), out is (m, width) and its row i is this block's row rows[i].
        A block of one row fills every row of `out`.
        Raises: ValueError where the shapes don't fit. Cost: one copy per run of neighbouring columns.
        """
        if rows is None and len(out) == len(self._records):
            self._run(spec, spec.program, out)
            return
        if rows is None and len(self._records) != 1:
            raise ValueError(f"{len(self._records)} rows don't fill a matrix of {len(out)}")
        packed = np.empty((len(self._records), spec.width), out.dtype)
        self._run(spec, spec.packed, packed)
        out[:, spec.columns] = packed if rows is None else packed.take(rows, axis=0)

    def column(self, name: str) -> FeatureColumn:
        """Return one feature's values and statuses, defaults applied.

        Raises: NotFound. Cost: the first of neighbouring scalars of a type transposes them all, the others
        are free; one slice per row for strings and variable lists.
        """
        column = self._columns.get(name)
        if column is None:
            slot = self._slot(name)
            if slot.is_scalar and not self._has_nulls:
                statuses = self._defaulted_rows() if slot.has_default else self.row_statuses
                column = FeatureColumn(self._by_column(slot.field)[slot.start], statuses)
            else:
                column = self._tail_column(slot) if slot.tail >= 0 else self._fixed_column(slot)
            self._columns[name] = column
        return column

    def scalar_bytes(self, field: str, elements: Sequence[int]) -> list[memoryview] | None:
        """Return the values of some scalars of one field of the record (ViewReader.scalar_place), as they lie
        in memory, each scalar's side by side; None unless all of them are as stored, and have the statuses of
        their rows.

        Cost: one copy, and a slice for each scalar.
        """
        if self._has_nulls or not (self.is_whole or (self.row_statuses != Status.NOT_FOUND).all()):
            return None
        by_column = self._by_column(field)
        size = by_column.shape[1] * by_column.itemsize
        data = by_column.reshape(-1).view(np.uint8).data
        return [data[element * size : (element + 1) * size] for element in elements]

    def statuses(self, name: str) -> NDArray[np.uint8]:
        """Return one feature's status per row, (n,) uint8; shared: don't write into it. Raises: NotFound.

        Cost: none where nothing is null or missing; for a string its whole column.
        """
        slot = self._slot(name)
        if slot.feature.dtype.scalar is Scalar.STRING:
            return self.column(name).statuses
        return self._slot_statuses(slot, self._slot_nulls(slot))

    def _run(self, spec: GatherSpec, program: GatherProgram, out: NDArray[Any]) -> None:
        if out.dtype.kind != "f":
            self._run_by_feature(spec, program, out)
            return
        copy_values(program, self._records, out)
        if not self._has_nulls:
            return
        mark_nulls(program, self._layout.null_bits(self._records), out)
        fill_defaults(program, out)
        if self.error_rows is not None:
            out[np.ix_(self.error_rows, program.columns)] = np.nan

    def _run_by_feature(self, spec: GatherSpec, program: GatherProgram, out: NDArray[Any]) -> None:
        for name, first in zip(spec.features, program.firsts, strict=True):
            values = np.nan_to_num(np.asarray(self.column(name).values))
            values = values if values.ndim > 1 else values[:, np.newaxis]
            out[:, first : first + values.shape[1]] = values

    def _slot(self, name: str) -> Slot:
        slot = self._layout.slots.get(name)
        if slot is None:
            raise NotFound(f"there is no feature {name}")
        return slot

    def _fixed_column(self, slot: Slot) -> FeatureColumn:
        if slot.feature.dtype.is_list:
            values = np.ascontiguousarray(self._records[slot.field][:, slot.start : slot.stop])
        else:
            values = self._by_column(slot.field)[slot.start]
        nulls = self._slot_nulls(slot)
        if nulls is not None and slot.has_default:
            default = default_elements(slot)
            values = values.copy()
            values[nulls] = default if slot.feature.dtype.is_list else default[0]
        return FeatureColumn(values, self._slot_statuses(slot, nulls))

    def _tail_column(self, slot: Slot) -> FeatureColumn:
        name, nulls = slot.feature.name, self._slot_nulls(slot)
        parts = self._tails[name] if self._tails is not None else self._cut(slot)
        if nulls is not None and slot.has_default:
            default = default_part(slot)
            parts = [default if null else part for part, null in zip(parts, nulls.tolist(), strict=True)]
        statuses = self._slot_statuses(slot, nulls)
        if slot.feature.dtype.scalar is not Scalar.STRING:
            return FeatureColumn(lists_of(slot.feature.dtype.scalar, parts), statuses)
        texts, corrupt = strings_of(parts)
        if corrupt is not None:
            statuses = np.where(corrupt, np.uint8(Status.ERROR), statuses)
            self.corrupt_count += int(corrupt.sum())
        return FeatureColumn(texts, statuses)

    def _cut(self, slot: Slot) -> list[bytes]:
        return tail_parts(self._layout, slot, self._records, self._rows)

    def _slot_statuses(self, slot: Slot, nulls: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        statuses = self._defaulted_rows() if slot.has_default else self.row_statuses
        if nulls is None:
            return statuses
        return np.where(nulls, np.uint8(Status.DEFAULTED if slot.has_default else Status.NULL), statuses)

    def _defaulted_rows(self) -> NDArray[np.uint8]:
        """Return the rows' statuses for features with a default."""
        if self._absent_statuses is None:
            absent = self.row_statuses == Status.NOT_FOUND
            replaced = np.where(absent, np.uint8(Status.DEFAULTED), self.row_statuses)
            self._absent_statuses = replaced if absent.any() else self.row_statuses
        return self._absent_statuses

    def _slot_nulls(self, slot: Slot) -> NDArray[np.bool_] | None:
        """Return which rows are there and null in this feature; None where there are none."""
        if not self._has_nulls:
            return None
        field, index = (slot.field, slot.start) if slot.null_bit < 0 else ("", slot.null_bit)
        if field not in self._nulls:
            by_row = np.isnan(self._by_column(field)) if field else self._layout.null_bits(self._records).T
            nulls = (by_row != 0) & self._is_found()  # (elements or bits, n) bool
            self._nulls[field] = nulls, nulls.any(axis=1).tolist()
        nulls, any_null = self._nulls[field]
        return nulls[index] if any_null[index] else None

    def _by_column(self, field: str) -> NDArray[Any]:
        """Return a field's elements, (width, n): each element's values lie side by side."""
        values = self._transposed.get(field)
        if values is None:
            values = self._transposed[field] = np.ascontiguousarray(self._records[field].T)
        return values

    def _is_found(self) -> NDArray[np.bool_]:
        statuses = self.row_statuses
        found: NDArray[np.bool_] = (statuses == Status.PRESENT) | (statuses == Status.STALE)
        return found

    def _found_times(self, times_us: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(self._is_found(), times_us, 0)
