"""Rows into the columns of a float32 matrix: where each feature goes is compiled once into a few block
copies, so that a request costs a few array operations per view, whatever the number of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from forebay.errors import NotFound, NotUsable
from numpy.typing import NDArray

from feature_store.layout import RowLayout, Slot
from registry.dtypes import Scalar

Columns = slice | NDArray[np.intp]

_FLOAT32_BYTES = 4
_MOST_BLOCKS = 4
"""With more blocks than this in one field, one indexed copy is cheaper than one copy per block."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Elements `source` of the record's `field` go to `columns` of the matrix, in that order."""

    field: str
    source: Columns
    columns: Columns
    may_overflow: bool


@dataclass(frozen=True, slots=True)
class ListDefault:
    """A fixed list whose first column is NaN is null, and replaced by `values`."""

    columns: slice
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GatherProgram:
    """What to copy, and what to do about nulls, for one layout and one choice of columns.

    `firsts` is each feature's first column, in the order of the features.
    Shapes: null_columns and null_bits (m,): the matrix columns of features that have a bit, and that bit;
    default_columns (d,) and defaults (d,): the scalars that declare a default; columns: all of them.
    """

    firsts: tuple[int, ...]
    copies: tuple[Copy, ...]
    columns: NDArray[np.intp]
    null_columns: NDArray[np.intp]
    null_bits: NDArray[np.intp]
    default_columns: NDArray[np.intp]
    defaults: NDArray[np.float64]
    list_defaults: tuple[ListDefault, ...]


@dataclass(frozen=True, slots=True)
class GatherSpec:
    """Features and the matrix columns that they fill, compiled for one layout (ViewReader.gather_spec).

    `columns` are all of them, a slice where they are consecutive, in the order of the features; `width` their
    number; `packed` writes the same columns side by side from 0.
    """

    features: tuple[str, ...]
    columns: Columns
    width: int
    program: GatherProgram
    packed: GatherProgram


def gather_spec(layout: RowLayout, features: Sequence[str], out_columns: Sequence[int]) -> GatherSpec:
    """Return the spec by which `features[i]` fills the matrix from column `out_columns[i]` on.

    Raises: NotFound for an unknown feature; NotUsable for a string or a variable list.
    """
    slots = [_numeric_slot(layout, name) for name in features]
    lengths = [slot.width for slot in slots]
    packed_columns = np.concatenate(([0], np.cumsum(lengths, dtype=np.intp))).tolist()
    elements = [np.arange(first, first + n) for first, n in zip(out_columns, lengths, strict=True)]
    columns = np.concatenate(elements) if elements else np.empty(0, np.intp)
    return GatherSpec(
        features=tuple(features),
        columns=_compact(columns),
        width=packed_columns[-1],
        program=_program(slots, out_columns),
        packed=_program(slots, packed_columns[:-1]),
    )


def copy_values(program: GatherProgram, records: NDArray[np.void], out: NDArray[Any]) -> None:
    """Copy the stored values of `records` (n,) into `out` (n, width); nulls with a bit are zeros so far."""
    is_narrow = out.dtype.itemsize < _FLOAT32_BYTES
    for copy in program.copies:
        block = _elements(records[copy.field], copy.source)
        if copy.may_overflow or is_narrow:
            with np.errstate(over="ignore"):
                out[:, copy.columns] = block
        else:
            out[:, copy.columns] = block


def mark_nulls(program: GatherProgram, bits: NDArray[np.uint8], out: NDArray[Any]) -> None:
    """Write NaN where `bits` (n, null_bit_count) say null."""
    if len(program.null_columns):
        nulls = bits.take(program.null_bits, axis=1).view(np.bool_)
        if nulls.any():
            out[:, program.null_columns] = np.where(nulls, np.nan, out[:, program.null_columns])


def fill_defaults(program: GatherProgram, out: NDArray[Any]) -> None:
    """Replace NaN by the declared default, where there is one."""
    with np.errstate(over="ignore"):
        for fill in program.list_defaults:
            nulls = np.isnan(out[:, fill.columns.start])
            out[nulls, fill.columns] = fill.values
        if len(program.default_columns):
            values = out[:, program.default_columns]
            nulls = np.isnan(values)
            if nulls.any():
                out[:, program.default_columns] = np.where(nulls, program.defaults, values)


def default_elements(slot: Slot) -> NDArray[np.generic]:
    """Return the default of a fixed-width feature as it is stored, (length,)."""
    dtype = slot.feature.dtype
    return np.broadcast_to(np.asarray(slot.feature.default, dtype.scalar.numpy), (dtype.length,))


def _elements(values: NDArray[np.generic], source: Columns) -> NDArray[np.generic]:
    return values[:, source] if isinstance(source, slice) else values.take(source, axis=1)


def _numeric_slot(layout: RowLayout, name: str) -> Slot:
    slot = layout.slots.get(name)
    if slot is None:
        raise NotFound(f"there is no feature {name}")
    if slot.tail >= 0:
        raise NotUsable(
            f"feature {name} is {slot.feature.dtype}, which no matrix column can hold", field=name
        )
    return slot


def _program(slots: Sequence[Slot], firsts: Sequence[int]) -> GatherProgram:
    placed = sorted(zip(firsts, slots, strict=True), key=lambda pair: pair[0])
    null_columns, null_bits = _null_elements(placed)
    scalars = [(first, slot) for first, slot in placed if slot.has_default and not slot.feature.dtype.is_list]
    lists = [(first, slot) for first, slot in placed if slot.has_default and slot.feature.dtype.is_list]
    return GatherProgram(
        firsts=tuple(firsts),
        copies=tuple(_copies(placed)),
        columns=np.array([c for first, slot in placed for c in range(first, first + slot.width)], np.intp),
        null_columns=null_columns,
        null_bits=null_bits,
        default_columns=np.array([first for first, _ in scalars], np.intp),
        defaults=np.array([default_elements(slot)[0] for _, slot in scalars], np.float64),
        list_defaults=tuple(
            ListDefault(slice(first, first + slot.width), default_elements(slot).astype(np.float64))
            for first, slot in lists
        ),
    )


def _null_elements(placed: Sequence[tuple[int, Slot]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    columns: list[int] = []
    bits: list[int] = []
    for first, slot in placed:
        if slot.null_bit >= 0:
            length = slot.width
            columns += range(first, first + length)
            bits += [slot.null_bit] * length
    return np.array(columns, np.intp), np.array(bits, np.intp)


def _copies(placed: Sequence[tuple[int, Slot]]) -> list[Copy]:
    copies: list[Copy] = []
    by_field = sorted(placed, key=lambda pair: (pair[1].field, pair[0]))
    for field, group in groupby(by_field, key=lambda pair: pair[1].field):
        members = list(group)
        may_overflow = members[0][1].feature.dtype.scalar is Scalar.FLOAT64
        source = np.concatenate([np.arange(slot.start, slot.stop) for _, slot in members])
        columns = np.concatenate([np.arange(first, first + slot.width) for first, slot in members])
        breaks = np.flatnonzero((np.diff(source) != 1) | (np.diff(columns) != 1)) + 1
        if len(breaks) < _MOST_BLOCKS:
            blocks = zip(np.split(source, breaks), np.split(columns, breaks), strict=True)
            copies += [Copy(field, _compact(part), _compact(to), may_overflow) for part, to in blocks]
        else:
            copies.append(Copy(field, source, _compact(columns), may_overflow))
    return copies


def _compact(indices: NDArray[np.intp]) -> Columns:
    """Return consecutive indices as a slice, which numpy copies in blocks."""
    if not len(indices) or (np.diff(indices) != 1).any():
        return indices
    return slice(int(indices[0]), int(indices[-1]) + 1)
