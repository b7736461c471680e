"""Between the wire's columns and numpy: the only place that knows how a Tensor is packed. Transport-free
meaning lives in `inputs.py` and `features.py`; the servicers call both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from forebay.errors import InvalidRequest
from forebay.v1 import values_pb2 as pb
from numpy.typing import NDArray

from feature_store.types import KeyField, Status
from registry.columns import VariableLists
from registry.dtypes import DType, Scalar

Values = NDArray[np.generic] | list[str] | VariableLists
"""(n,) or (n, length) array; n strings; or n variable lists."""

WIRE_DTYPES: dict[Scalar, pb.DType] = {
    Scalar.BOOL: pb.DTYPE_BOOL,
    Scalar.INT32: pb.DTYPE_INT32,
    Scalar.INT64: pb.DTYPE_INT64,
    Scalar.FLOAT16: pb.DTYPE_FLOAT16,
    Scalar.FLOAT32: pb.DTYPE_FLOAT32,
    Scalar.FLOAT64: pb.DTYPE_FLOAT64,
    Scalar.STRING: pb.DTYPE_STRING,
    Scalar.TIMESTAMP: pb.DTYPE_TIMESTAMP,
}
_PRESENT = bytes([Status.PRESENT])
_SCALARS = {number: scalar for scalar, number in WIRE_DTYPES.items()}


def fill_tensor(message: pb.Tensor, values: Values, scalar: Scalar) -> None:
    """Pack `values` into an empty message. Cost: one copy of the elements."""
    message.dtype = WIRE_DTYPES[scalar]
    elements: NDArray[np.generic] | list[str]
    if isinstance(values, VariableLists):
        elements = values.values
        message.shape.extend((values.count, -1))
        message.offsets.extend(values.offsets.tolist())
    else:
        elements = values
        message.shape.extend((len(values),) if isinstance(values, list) else values.shape)
    if isinstance(elements, list):
        message.strings.extend(elements)
    elif scalar is Scalar.STRING:
        message.strings.extend(elements.tolist())
    else:
        message.data = elements.astype(scalar.numpy, copy=False).tobytes()


def statuses_bytes(statuses: NDArray[np.uint8]) -> bytes:
    """Return the statuses of a column as the wire has them: nothing where every row is PRESENT."""
    raw = statuses.tobytes()
    return raw if raw.count(_PRESENT) < len(raw) else b""


def fill_column(
    message: pb.Column,
    name: str,
    values: Values,
    scalar: Scalar,
    statuses: NDArray[np.uint8] | None = None,
    event_times_us: NDArray[np.int64] | None = None,
) -> None:
    """Fill an empty column; statuses are left out when every row is PRESENT.

    Columns are filled where they belong: a message that is made apart is copied into its answer, which costs
    ten times as much as filling it.
    """
    message.name = name
    fill_tensor(message.values, values, scalar)
    if statuses is not None:
        message.statuses = statuses_bytes(statuses)
    if event_times_us is not None:
        fill_tensor(message.event_times_us, event_times_us, Scalar.TIMESTAMP)


def fill_value(message: pb.Value, value: object, dtype: DType) -> None:
    """Write a value of `dtype` into an empty message; a list as a tensor of its elements. One element given
    for a fixed list stands for all of them."""
    scalar = dtype.scalar
    if dtype.is_list:
        elements = np.asarray(value, scalar.numpy)
        whole = elements if dtype.is_variable_list else np.broadcast_to(elements, (dtype.length,))
        fill_tensor(message.tensor, whole, scalar)
        return
    kinds = {Scalar.BOOL: "bool_value", Scalar.STRING: "string_value", Scalar.TIMESTAMP: "timestamp_us"}
    otherwise = "double_value" if scalar.is_float else "int64_value"
    setattr(message, kinds.get(scalar, otherwise), value)


def values_of(message: pb.Tensor, field: str) -> tuple[Values, Scalar]:
    """Return a tensor's elements and element type.

    Raises: InvalidRequest naming `field`, when dtype, shape, data and offsets don't agree.
    """
    scalar = _SCALARS.get(message.dtype)
    if scalar is None:
        raise InvalidRequest(f"{field}: unknown or missing dtype", field=field)
    shape = tuple(message.shape)
    elements = _elements_of(message, scalar, field)
    if len(shape) == 2 and shape[1] == -1:
        flat = np.array(elements, object) if isinstance(elements, list) else elements
        return VariableLists(flat, _offsets_of(message, shape[0], len(elements), field)), scalar
    if message.offsets:
        raise InvalidRequest(f"{field}: offsets are for variable lists, of shape [N, -1]", field=field)
    if not shape or min(shape) < 0 or math.prod(shape) != len(elements):
        raise InvalidRequest(
            f"{field}: shape {list(shape)} doesn't hold {len(elements)} elements of {scalar.value}",
            field=field,
        )
    if isinstance(elements, list):
        if len(shape) != 1:
            raise InvalidRequest(f"{field}: strings come as a list of shape [N]", field=field)
        return elements, scalar
    return elements.reshape(shape), scalar


def row_count(values: Values) -> int:
    """Return the size of the first dimension."""
    return values.count if isinstance(values, VariableLists) else len(values)


def columns_of(messages: Sequence[pb.Column], field: str) -> dict[str, tuple[Values, Scalar]]:
    """Return columns by name, all of one length.

    Raises: InvalidRequest for a duplicate name, a malformed tensor, or lengths that differ.
    """
    columns: dict[str, tuple[Values, Scalar]] = {}
    for message in messages:
        if message.name in columns:
            raise InvalidRequest(f"{field}: column {message.name!r} is given twice", field=field)
        columns[message.name] = values_of(message.values, f"{field}.{message.name}")
    lengths = {row_count(values) for values, _ in columns.values()}
    if len(lengths) > 1:
        raise InvalidRequest(f"{field}: columns differ in length: {sorted(lengths)}", field=field)
    return columns


def key_columns(
    messages: Sequence[pb.Column], key: Sequence[KeyField], field: str, limit: int
) -> dict[str, NDArray[np.generic] | list[str]]:
    """Return one column per key field, in the key's order, all of one length.

    Raises: InvalidRequest for a missing or unknown key field, a list, a null, or more rows than `limit`.
    """
    columns = columns_of(messages, field)
    names = [part.name for part in key]
    if set(columns) != set(names):
        unknown = sorted(set(columns) - set(names))
        but = f", not for {', '.join(unknown)}" if unknown else ""
        raise InvalidRequest(f"{field}: needs a column for each of {', '.join(names)}{but}", field=field)
    found: dict[str, NDArray[np.generic] | list[str]] = {}
    for name in names:
        values, _ = columns[name]
        if isinstance(values, VariableLists) or (isinstance(values, np.ndarray) and values.ndim != 1):
            raise InvalidRequest(
                f"{field}.{name}: a key column has one value per row", field=f"{field}.{name}"
            )
        if len(values) > limit:
            raise InvalidRequest(f"{field}: at most {limit} rows, not {len(values)}", field=field)
        found[name] = values
    for message in messages:
        _check_no_null(message, len(found[message.name]), f"{field}.{message.name}")
    return found


def _check_no_null(message: pb.Column, count: int, field: str) -> None:
    statuses = message.statuses
    if not statuses:
        return
    if len(statuses) != count:
        raise InvalidRequest(f"{field}: has {len(statuses)} statuses for {count} rows", field=field)
    row = next((row for row, status in enumerate(statuses) if status != Status.PRESENT), None)
    if row is not None:
        raise InvalidRequest(f"{field}: row {row} has no value, and a key needs one", field=field)


def _elements_of(message: pb.Tensor, scalar: Scalar, field: str) -> NDArray[np.generic] | list[str]:
    if scalar is Scalar.STRING:
        if message.data:
            raise InvalidRequest(f"{field}: a string tensor carries `strings`, not `data`", field=field)
        return list(message.strings)
    if message.strings:
        raise InvalidRequest(f"{field}: only a string tensor carries `strings`", field=field)
    size = scalar.numpy.itemsize
    if len(message.data) % size:
        raise InvalidRequest(
            f"{field}: {len(message.data)} bytes of data are no whole number of {scalar.value} elements",
            field=field,
        )
    if scalar is Scalar.BOOL:
        return np.frombuffer(message.data, np.uint8).astype(np.bool_)
    elements: NDArray[np.generic] = np.frombuffer(message.data, scalar.numpy)
    return elements


def _offsets_of(message: pb.Tensor, rows: int, elements: int, field: str) -> NDArray[np.int64]:
    offsets = np.fromiter(message.offsets, np.int64, len(message.offsets))
    if rows < 0 or len(offsets) != rows + 1:
        raise InvalidRequest(f"{field}: {rows} variable lists need {rows + 1} offsets", field=field)
    if offsets[0] != 0 or offsets[-1] != elements or (np.diff(offsets) < 0).any():
        raise InvalidRequest(
            f"{field}: offsets must rise from 0 to the number of elements, {elements}", field=field
        )
    return offsets
