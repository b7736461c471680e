"""Columns into rows, a batch at a time. Checks of the values are in column_values.py, the format in
layout.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from feature_store.column_values import TailColumn, fixed_column, null_column, storable, tail_column
from feature_store.float_runs import float_runs
from feature_store.layout import ENDS, EVENT_US, HEAD, NULLS, WRITE_US, RowLayout
from feature_store.row_header import MAX_TIME_US
from feature_store.schema import MAX_ROW_BYTES, RowSchema
from registry.columns import ColumnData

EVENT_TIME = "event_time"
"""What the event time is called where it is at fault."""


ROW = "row"
"""What a row is called where the whole of it is at fault."""


class Fault(NamedTuple):
    """How many rows a feature makes invalid, and which `rule` its values break there."""

    name: str
    row_count: int
    rule: str


class EncodedBatch(NamedTuple):
    """n rows, and which of them are invalid, (n,) bool: those are empty bytes, which no store takes; and what
    makes them so, one fault for each feature."""

    rows: list[bytes]
    invalid: NDArray[np.bool_]
    faults: tuple[Fault, ...]


class RowEncoder:
    """Makes rows of one schema.

    Limits: strings of 64 KiB, lists of 65,536 elements, rows of MAX_ROW_BYTES, event times within
    MAX_TIME_US, other times in the years 1 to 9999. Infinities are values; NaN is null. Integers are accepted
    for floats and may lose precision; narrowing that would make a finite number infinite makes the row
    invalid.
    """

    def __init__(self, schema: RowSchema) -> None:
        self._layout = RowLayout(schema)
        self._float_runs = float_runs(self._layout)

    def encode(
        self, columns: Mapping[str, ColumnData], event_times_us: NDArray[np.int64], write_time_us: int
    ) -> list[bytes]:
        """Return the rows, one per event time.

        Raises: InvalidRequest naming the feature: a missing or unknown column, a wrong type, shape or length,
        or a value that doesn't fit. Cost: one slice per row; a few array operations per feature, but for
        scalar floats in the type that they are stored in; a Python step per row and variable feature.
        """
        rows, invalid = self._encode(columns, event_times_us, write_time_us)
        faults = self._faults(invalid)
        if faults:
            told = [f"{fault.name}: {fault.row_count} values are not {fault.rule}" for fault in faults]
            raise InvalidRequest("; ".join(told), field=faults[0].name)
        return rows

    def encode_valid(
        self,
        columns: Mapping[str, ColumnData],
        event_times_us: NDArray[np.int64],
        write_time_us: int,
        *,
        absent_is_null: bool = False,
    ) -> EncodedBatch:
        """Return the rows, and which of them are invalid: hold a value that doesn't fit.

        With `absent_is_null` a feature without a column is null in every row. Raises and Cost as `encode`,
        but for such values.
        """
        if absent_is_null:
            absent = [slot.feature for name, slot in self._layout.slots.items() if name not in columns]
            count = len(event_times_us)
            columns = {**columns, **{feature.name: null_column(feature.dtype, count) for feature in absent}}
        rows, invalid = self._encode(columns, event_times_us, write_time_us)
        mask = np.logical_or.reduce(list(invalid.values()))
        if mask.any():
            rows = [b"" if bad else row for row, bad in zip(rows, mask.tolist(), strict=True)]
        return EncodedBatch(rows, mask, self._faults(invalid))

    def _faults(self, invalid: Mapping[str, NDArray[np.bool_]]) -> tuple[Fault, ...]:
        counts = {name: int(np.count_nonzero(mask)) for name, mask in invalid.items()}
        return tuple(Fault(name, count, self._rule(name)) for name, count in counts.items() if count)

    def _rule(self, name: str) -> str:
        if name == EVENT_TIME:
            return "times in the years 1684 to 2255"
        slot = self._layout.slots.get(name)
        return f"at most {MAX_ROW_BYTES} bytes" if slot is None else storable(slot.feature.dtype)

    def _encode(
        self, columns: Mapping[str, ColumnData], event_times_us: NDArray[np.int64], write_time_us: int
    ) -> tuple[list[bytes], dict[str, NDArray[np.bool_]]]:
        """Return the rows, and for each feature and the event time which rows it makes invalid."""
        self._check_names(columns)
        times, bad_times = _checked_times(event_times_us, write_time_us)
        layout, count = self._layout, len(times)
        records = np.zeros(count, layout.record)
        bits = np.zeros((count, layout.null_bit_count), np.bool_)
        has_nulls = np.zeros(count, np.bool_)
        invalid = {EVENT_TIME: bad_times}
        tails: list[TailColumn] = []
        written: set[str] = set()
        for run in self._float_runs:
            if run.write(records, columns, has_nulls):
                written.update(run.names)
        for name, slot in layout.slots.items():
            if name in written:
                continue
            if slot.tail >= 0:
                tail = tail_column(slot.feature, columns[name], count)
                tails.append(tail)
                nulls, invalid[name] = tail.nulls, tail.invalid
            else:
                fixed = fixed_column(slot.feature, columns[name], count)
                records[slot.field][:, slot.start : slot.stop] = fixed.values
                nulls, invalid[name] = fixed.nulls, fixed.invalid
            has_nulls |= nulls
            if slot.null_bit >= 0:
                bits[:, slot.null_bit] = nulls
        if layout.null_bit_count:
            records[NULLS] = np.packbits(bits, axis=1, bitorder="little")
        heads = np.frombuffer(layout.clean_head + layout.nulls_head, "<u4")
        records[HEAD] = heads[has_nulls.astype(np.intp)]
        records[EVENT_US], records[WRITE_US] = times, write_time_us
        if tails:
            invalid[ROW] = _lay_ends(records, tails) > MAX_ROW_BYTES - records.itemsize
        return _rows(records, tails), invalid

    def _check_names(self, columns: Mapping[str, ColumnData]) -> None:
        for name in self._layout.slots:
            if name not in columns:
                raise InvalidRequest(f"feature {name} is missing", field=name)
        for name in columns:
            if name not in self._layout.slots:
                raise InvalidRequest(f"there is no feature {name} in this view", field=name)


def _checked_times(
    event_times_us: NDArray[np.int64], write_time_us: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if not -MAX_TIME_US <= write_time_us <= MAX_TIME_US:
        raise ValueError(f"a write time is within {MAX_TIME_US} microseconds of 1970")
    times = np.asarray(event_times_us)
    if times.ndim != 1 or (times.size and times.dtype.kind not in "iu"):
        raise InvalidRequest("event times are one integer of microseconds per row", field=EVENT_TIME)
    bad = (times > MAX_TIME_US) | (times < -MAX_TIME_US)
    return np.where(bad, 0, times).astype(np.int64), bad


def _lay_ends(records: NDArray[np.void], tails: list[TailColumn]) -> NDArray[np.int64]:
    """Write where each part of the tail ends; return how long each row's tail is, (n,)."""
    end = np.zeros(len(records), np.int64)
    for index, tail in enumerate(tails):
        end = end + np.fromiter(map(len, tail.parts), np.int64, len(records))
        records[ENDS][:, index] = end
    return end


def _rows(records: NDArray[np.void], tails: list[TailColumn]) -> list[bytes]:
    fixed: list[bytes] = records.view(np.dtype((np.void, records.itemsize))).tolist()
    if not tails:
        return fixed
    parts = zip(fixed, *(tail.parts for tail in tails), strict=True)
    return list(map(b"".join, parts))
