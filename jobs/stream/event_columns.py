"""A chunk of events at once: payloads into columns without Python per event. Returns None where anything is
out of the ordinary; then `event_values.py` looks at the events one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from jobs.stream.events import Column, EventField
from jobs.stream.source import EventFormat
from registry.dtypes import Scalar
from registry.key_text import MAX_KEY_BYTES

_DIGITS = b"0123456789-"
_BOOLS = {b"true": True, b"1": True, b"false": False, b"0": False}
_FLOAT_LETTERS = b"0123456789-.eE"
_JSON_TYPES = {
    Scalar.BOOL: pa.bool_(),
    Scalar.INT32: pa.int32(),
    Scalar.INT64: pa.int64(),
    Scalar.FLOAT16: pa.float64(),
    Scalar.FLOAT32: pa.float64(),
    Scalar.FLOAT64: pa.float64(),
    Scalar.STRING: pa.string(),
}


def columns_of(
    payloads: Sequence[Any], layout: EventFormat, fields: Sequence[EventField]
) -> dict[str, Column] | None:
    """Return the columns of `fields` of at least one event, or None where an event must be looked at alone.

    Cost: for the flat form about a microsecond per event and field, all of it in C.
    """
    arrays = _flat(payloads, fields) if layout == "fields" else _parsed(payloads, fields)
    if arrays is None:
        return None
    columns: dict[str, Column] = {}
    for field in fields:
        array = arrays[field.name]
        column = _absent(len(payloads), field) if array is None else _column(array, field)
        if column is None:
            return None
        columns[field.name] = column
    return columns


def _flat(payloads: Sequence[Sequence[bytes]], fields: Sequence[EventField]) -> dict[str, Any] | None:
    """Take apart events that all name the same fields in the same order, each once."""
    width = len(payloads[0])
    if width == 0 or set(map(len, payloads)) != {width}:
        return None
    names = payloads[0][::2]
    flat = list(chain.from_iterable(payloads))
    if len(set(names)) != len(names) or any(
        set(flat[2 * place :: width]) != {name} for place, name in enumerate(names)
    ):
        return None
    places = {name: 2 * place + 1 for place, name in enumerate(names)}
    arrays: dict[str, Any] = {}
    for field in fields:
        place = places.get(field.name.encode())
        array = None if place is None else _typed(flat[place::width], field)
        if place is not None and array is None:
            return None
        arrays[field.name] = array
    return arrays


def _typed(texts: list[bytes], field: EventField) -> Any | None:
    """Return the Arrow array of one field's texts; None where one may not fit."""
    scalar = field.dtype.scalar
    if scalar is Scalar.BOOL:
        return pa.array(map(_BOOLS.get, texts)) if set(texts) <= set(_BOOLS) else None
    joined = b"".join(texts)
    try:
        array = _strings(texts, joined)
        if scalar is Scalar.STRING:
            return array
        if scalar.is_integer and not joined.translate(None, _DIGITS):
            return array.cast(_JSON_TYPES[scalar])
        if scalar.is_float and not joined.translate(None, _FLOAT_LETTERS):
            return array.cast(pa.float64())
        if scalar is Scalar.TIMESTAMP:
            return _instants(array, whole=not joined.translate(None, _DIGITS))
    except pa.ArrowInvalid:
        return None
    return None


def _strings(texts: list[bytes], joined: bytes) -> Any:
    """Return texts as an Arrow array. Not by pa.array, which imports pandas: half a second."""
    ends = np.zeros(len(texts) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, texts), np.int32, len(texts)), out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(joined)]
    return pa.Array.from_buffers(pa.binary(), len(texts), buffers).cast(pa.string())


def _instants(array: Any, *, whole: bool) -> Any:
    """Return int64 microseconds of texts: digits, or ISO 8601 that all name a zone, or none of them does."""
    if whole:
        return array.cast(pa.int64())
    try:
        return array.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        return array.cast(pa.timestamp("us")).cast(pa.int64())


def _parsed(payloads: Sequence[bytes | None], fields: Sequence[EventField]) -> dict[str, Any] | None:
    """Parse JSON objects, one per payload."""
    if not all(payloads):
        return None
    lines = b"\n".join(payloads)  # type: ignore[arg-type]
    whole = all(line.startswith(b"{") and line.endswith(b"}") for line in payloads if line)
    if not whole or lines.count(b"\n") != len(payloads) - 1:
        return None
    for instants in (pa.int64(), pa.string()):
        table = _read(lines, fields, instants)
        if table is not None and table.num_rows == len(payloads):
            break
    else:
        return None
    arrays: dict[str, Any] = {}
    for field in fields:
        array = table.column(field.name).combine_chunks()
        if field.dtype.scalar is Scalar.TIMESTAMP and pa.types.is_string(array.type):
            try:
                array = _instants(array, whole=False)
            except pa.ArrowInvalid:
                return None
        arrays[field.name] = array
    return arrays


def _read(lines: bytes, fields: Sequence[EventField], instants: Any) -> Any | None:
    schema = pa.schema(
        [(field.name, _JSON_TYPES.get(field.dtype.scalar, instants)) for field in fields],
    )
    parsing = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = arrow_json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    try:
        return arrow_json.read_json(pa.BufferReader(lines), reading, parsing)
    except pa.ArrowInvalid:
        return None


def _column(array: Any, field: EventField) -> Column | None:
    """Return a column; None where a required value is null, or a number is none or out of range."""
    scalar = field.dtype.scalar
    if field.required and array.null_count:
        return None
    if scalar is Scalar.STRING:
        if field.is_key_text and not pc.all(are_key_texts(array)).as_py():
            return None
        texts: list[Any] = array.to_pylist()
        return texts
    if not scalar.is_float:
        if field.required:
            return np.from_dlpack(array.cast(pa.int64()))
        floats: Column = _floats(array)
        return floats
    numbers = _floats(array)
    if pc.any(pc.invert(pc.is_finite(array))).as_py():
        return None
    with np.errstate(over="ignore"):
        narrowed = numbers.astype(scalar.numpy)
    if np.isinf(narrowed).any():
        return None
    column: Column = narrowed
    return column


def are_key_texts(array: Any) -> Any:
    """Return which of an Arrow array's texts may be part of a key; null for a null."""
    lengths = pc.binary_length(array)
    return pc.and_(pc.greater(lengths, 0), pc.less_equal(lengths, MAX_KEY_BYTES))


def _floats(array: Any) -> Any:
    """Return float64, NaN where null. Not by to_numpy, which imports pandas as well."""
    floats = array.cast(pa.float64(), safe=False)
    return np.from_dlpack(floats.fill_null(np.nan) if floats.null_count else floats)


def _absent(count: int, field: EventField) -> Column | None:
    """Return the column of a field that no event has."""
    if field.required:
        return None
    if field.dtype.scalar is Scalar.STRING:
        return [None] * count
    return np.full(count, np.nan, field.dtype.scalar.numpy if field.dtype.scalar.is_float else np.float64)
