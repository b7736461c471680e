"""Columns of the wire as an Arrow table, typed as the features are, without a Python object per number. Needs
pyarrow, not numpy."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from forebay._dtypes import BOOL, FLOAT16, FLOAT32, FLOAT64, INT32, INT64, STRING, TIMESTAMP, Scalar
from forebay._unpack import ABSENT, ColumnView, row_count, scalar_of
from forebay.errors import NotUsable
from forebay.types import Status
from forebay.v1 import values_pb2 as pb

STATUS_NAMES = [status.name for status in sorted(Status)]


def arrow_table(keys: Sequence[ColumnView], features: Sequence[ColumnView], statuses: bool) -> Any:
    """Return the columns as a pyarrow.Table. Raises: NotUsable without pyarrow."""
    pa = _pyarrow()
    columns = {view.name: _column(pa, view.message) for view in keys}
    for view in features:
        columns[view.name] = _column(pa, view.message)
        if statuses:
            columns[f"{view.name}.status"] = _statuses(pa, view)
        if view.message.HasField("event_times_us"):
            columns[f"{view.name}.event_time"] = _event_times(pa, view.message.event_times_us)
    return pa.table(columns)


def _pyarrow() -> ModuleType:
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise NotUsable("to_arrow needs pyarrow: pip install 'forebay[arrow]'") from error


def _column(pa: Any, column: pb.Column) -> Any:
    """Return one column, null where it has no value."""
    tensor, count = column.values, row_count(column.values)
    scalar = scalar_of(tensor, column.name)
    absent = [status in ABSENT for status in column.statuses]
    if len(tensor.shape) < 2:
        return _scalars(pa, tensor, scalar, absent)
    elements = _scalars(pa, tensor, scalar, [])
    width = tensor.shape[1]
    if width >= 0:
        kind = pa.list_(elements.type, width)
        return pa.Array.from_buffers(kind, count, [_validity(pa, absent)], children=[elements])
    offsets = pa.array(list(tensor.offsets), pa.int32()).buffers()[1]
    buffers = [_validity(pa, absent), offsets]
    return pa.Array.from_buffers(pa.list_(elements.type), count, buffers, children=[elements])


def _scalars(pa: Any, tensor: pb.Tensor, scalar: Scalar, absent: list[bool]) -> Any:
    kind = _kind(pa, scalar)
    if scalar is STRING or scalar is BOOL:
        rows = tensor.strings if scalar is STRING else map(bool, tensor.data)
        gone = absent or [False] * max(len(tensor.strings), len(tensor.data))
        return pa.array([None if no else row for row, no in zip(rows, gone, strict=True)], kind)
    count = len(tensor.data) // scalar.size_bytes
    return pa.Array.from_buffers(kind, count, [_validity(pa, absent), pa.py_buffer(tensor.data)])


def _kind(pa: Any, scalar: Scalar) -> Any:
    kinds = {
        BOOL: pa.bool_(),
        INT32: pa.int32(),
        INT64: pa.int64(),
        FLOAT16: pa.float16(),
        FLOAT32: pa.float32(),
        FLOAT64: pa.float64(),
        STRING: pa.string(),
        TIMESTAMP: pa.timestamp("us", tz="UTC"),
    }
    return kinds[scalar]


def _validity(pa: Any, absent: list[bool]) -> Any:
    """Return a bit per row, set where there is a value; None where all have one."""
    if not any(absent):
        return None
    return pa.array([not gone for gone in absent], pa.bool_()).buffers()[1]


def _statuses(pa: Any, view: ColumnView) -> Any:
    """Return the statuses by name, as a dictionary array."""
    codes = view.message.statuses or bytes([Status.PRESENT]) * len(view)
    places = pa.array([code - 1 for code in codes], pa.int8())
    return pa.DictionaryArray.from_arrays(places, STATUS_NAMES)


def _event_times(pa: Any, tensor: pb.Tensor) -> Any:
    times = _scalars(pa, tensor, INT64, []).to_pylist()
    return pa.array([time or None for time in times], pa.int64()).cast(_kind(pa, TIMESTAMP))
