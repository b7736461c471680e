"""Where each value of a row lies. A row is

    header        20 bytes, row_header.py
    null bitmap   one bit per feature that isn't a fixed-width float, in schema order, low bit first; absent
                  where there is no such feature
    columns       fixed-width features in schema order, little-endian, unpadded
    ends          u32 per variable feature: where its bytes end, counted from the start of the tail
    tail          the bytes of strings (UTF-8) and variable lists (elements), in schema order

A float is null when it is NaN, a fixed list of floats when its first element is. The fixed part is described
to numpy as one record, so that n rows are one array, and neighbouring columns of a type are one field of it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store.row_header import HAS_NULLS, HEADER_BYTES, pack_header
from feature_store.schema import Feature, RowSchema
from registry.dtypes import Scalar

HEAD, EVENT_US, WRITE_US, NULLS, ENDS = "head", "event_us", "write_us", "nulls", "ends"
"""Fields of the record: the first four bytes (schema, version, flags) as one u32; the times; the bitmap; the
ends. Fields of columns are named c0, c1 and so on."""

_CHAR_BYTES = 1


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one feature lies: elements `start:stop` of the record's `field`, or tail part `tail`.

    `null_bit` is -1 where NaN is the null; `tail` is -1 for fixed-width features, whose `field` is never
    empty.
    `is_scalar` says of a fixed-width feature that it is no list.
    """

    feature: Feature
    field: str = ""
    start: int = 0
    stop: int = 0
    null_bit: int = -1
    tail: int = -1
    is_scalar: bool = dataclasses.field(init=False)
    has_default: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_scalar", bool(self.field) and not self.feature.dtype.is_list)
        object.__setattr__(self, "has_default", self.feature.default is not None)

    @property
    def width(self) -> int:
        """The number of elements of a fixed-width feature."""
        return self.stop - self.start

    @property
    def element_bytes(self) -> int:
        """The size of one element in the tail: what the length of its part divides by."""
        scalar = self.feature.dtype.scalar
        return _CHAR_BYTES if scalar is Scalar.STRING else scalar.numpy.itemsize


class RowLayout:
    """The layout of one schema, compiled once.

    `record` is the numpy type of the fixed part, `fixed_bytes` its size, `slots` the features by name,
    `variable` those in the tail, `null_bit_count` the bits in use; `clean_head` and `nulls_head` are the
    first four bytes of a row without and with nulls.
    """

    def __init__(self, schema: RowSchema) -> None:
        self.schema = schema
        self.slots = _slots(schema)
        self.variable = tuple(slot for slot in self.slots.values() if slot.tail >= 0)
        self.null_bit_count = sum(slot.null_bit >= 0 for slot in self.slots.values())
        self.record = _record(self)
        self.fixed_bytes = self.record.itemsize
        self.clean_head = pack_header(schema.schema_id, 0, 0)[:4]
        self.nulls_head = pack_header(schema.schema_id, 0, 0, HAS_NULLS)[:4]

    def has_sound_tails(self, records: NDArray[np.void], row_bytes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return per row, (n,), whether its ends ascend in whole elements and end where the row does."""
        ends = records[ENDS].astype(np.int64)  # (n, variable)
        sound: NDArray[np.bool_] = ends[:, -1] == row_bytes - self.fixed_bytes
        for slot in self.variable:
            lengths = ends[:, slot.tail]
            if slot.tail:
                lengths = lengths - ends[:, slot.tail - 1]
                sound &= lengths >= 0
            if slot.element_bytes > 1:
                sound &= lengths % slot.element_bytes == 0
        return sound

    def null_bits(self, records: NDArray[np.void]) -> NDArray[np.uint8]:
        """Return the bitmap spread out, (n, null_bit_count) uint8 of 0 and 1."""
        if not self.null_bit_count:
            return np.zeros((len(records), 0), np.uint8)
        return np.unpackbits(records[NULLS], axis=1, count=self.null_bit_count, bitorder="little")


def _slots(schema: RowSchema) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    scalar: Scalar | None = None  # of the field being filled
    fields = width = bits = tails = 0
    for feature in schema.features:
        dtype = feature.dtype
        bit = -1
        if dtype.is_variable or not dtype.scalar.is_float:
            bit, bits = bits, bits + 1
        if dtype.is_variable:
            slots[feature.name] = Slot(feature, null_bit=bit, tail=tails)
            tails += 1
            continue
        if dtype.scalar is not scalar:
            scalar, fields, width = dtype.scalar, fields + 1, 0
        stop = width + dtype.length
        slots[feature.name] = Slot(feature, f"c{fields - 1}", width, stop, null_bit=bit)
        width = stop
    return slots


def _record(layout: RowLayout) -> np.dtype[np.void]:
    """Return the record type; offsets are spelt out because alignment would pad it."""
    widths: dict[str, tuple[np.dtype[np.generic], int]] = {}
    for slot in layout.slots.values():
        if slot.field:
            widths[slot.field] = (slot.feature.dtype.scalar.numpy, slot.stop)
    names: list[str] = [HEAD, EVENT_US, WRITE_US]
    formats: list[object] = ["<u4", "<i8", "<i8"]
    if layout.null_bit_count:
        names.append(NULLS)
        formats.append(("u1", ((layout.null_bit_count + 7) // 8,)))
    for name, (dtype, width) in widths.items():
        names.append(name)
        formats.append((dtype, (width,)))
    if layout.variable:
        names.append(ENDS)
        formats.append(("<u4", (len(layout.variable),)))
    sizes = [np.dtype(form).itemsize for form in formats]  # type: ignore[call-overload]
    offsets = np.concatenate(([0], np.cumsum(sizes))).tolist()
    assert offsets[3] == HEADER_BYTES
    return np.dtype({"names": names, "formats": formats, "offsets": offsets[:-1], "itemsize": offsets[-1]})
