"""Python's values and arrays into the wire's values, tensors and columns. The way back is `_unpack.py`.

Arrays are packed by numpy; sequences by `struct`, so that numpy is not needed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from forebay._dtypes import BOOL, FLOAT32, FLOAT64, FLOATS, INT64, STRING, TIMESTAMP, DType, Scalar
from forebay._numpy import installed_numpy, is_array, is_scalar
from forebay._times import microseconds, moment
from forebay.errors import InvalidRequest
from forebay.types import Status
from forebay.v1 import values_pb2 as pb


def value(given: Any, field: str) -> pb.Value:
    """Return one value: None is null, a sequence or an array becomes a tensor.

    Raises: InvalidRequest naming `field`, where the type can't be sent.
    """
    if is_scalar(given):
        given = _python_scalar(given, field)
    if given is None:
        return pb.Value()
    if isinstance(given, bool):
        return pb.Value(bool_value=given)
    if isinstance(given, int):
        return pb.Value(int64_value=_within_int64(given, field))
    if isinstance(given, float):
        return pb.Value(double_value=given)
    if isinstance(given, str):
        return pb.Value(string_value=given)
    if isinstance(given, datetime):
        return pb.Value(timestamp_us=microseconds(given, field))
    if isinstance(given, list | tuple) or is_array(given):
        return pb.Value(tensor=tensor(given, None, field))
    raise InvalidRequest(f"{field}: a {type(given).__name__} can't be sent", field=field)


def vector(given: Any, field: str) -> pb.Tensor:
    """Return a vector as float32, shape (dimension,)."""
    return tensor(given, DType(FLOAT32), field)


def tensor(given: Any, dtype: DType | None, field: str) -> pb.Tensor:
    """Return a tensor of values none of which is null; of the type that they have where `dtype` is None."""
    packed = column(field, given, dtype, field)
    if packed.statuses:
        raise InvalidRequest(f"{field}: holds a null", field=field)
    return packed.values


def column(name: str, given: Any, dtype: DType | None, field: str) -> pb.Column:
    """Return a column, a row per element; None is null, and so is what pandas and Arrow call missing. A
    single value is a column of one row.

    Raises: InvalidRequest naming `field`, where elements don't have the type, or not one type.
    Cost: one copy of an array; a Python step per element of a sequence.
    """
    rows = _rows(given)
    if is_array(rows):
        return _array_column(name, rows, dtype, field)
    rows = [None if _is_missing(row) else row for row in rows]
    nulls = [row is None for row in rows]
    dtype = dtype or _inferred(rows, field)
    if dtype.length is None:
        values = _flat(_filled(rows, dtype), (len(rows),), dtype.scalar, field)
    elif dtype.length == 0:
        values = _variable(rows, dtype.scalar, field)
    else:
        values = _fixed(rows, dtype, field)
    return pb.Column(name=name, values=values, statuses=_statuses(nulls))


def _python_scalar(given: Any, field: str) -> Any:
    """Python's own for one of numpy's scalars; NaT is None."""
    if given.dtype.kind == "M":
        # Only NaT differs from itself.
        return None if given != given else moment(microseconds(given, field))
    convert = {"b": bool, "i": int, "u": int, "f": float, "U": str}.get(given.dtype.kind)
    if convert is None:
        raise InvalidRequest(f"{field}: a {given.dtype} can't be sent", field=field)
    return convert(given)


def _rows(given: Any) -> Any:
    if hasattr(given, "to_pylist"):  # Arrow's, whose array for numpy has no integer beside a null
        return given.to_pylist()
    if hasattr(getattr(given, "dtype", None), "na_value"):  # pandas' own types, for the same reason
        return list(given.astype(object))
    if is_array(given) or isinstance(given, list | tuple):
        return given
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _array_column(name: str, given: Any, dtype: DType | None, field: str) -> pb.Column:
    numpy = installed_numpy()
    assert numpy is not None
    array = numpy.asarray(given)
    if array.dtype.kind in "OU":
        return column(name, [None if _is_nan(row) else row for row in array.tolist()], dtype, field)
    scalar = dtype.scalar if dtype else _scalar_of(array, field)
    nulls = _array_nulls(array)
    if array.dtype.kind == "M":
        array = numpy.where(nulls, 0, array.astype("datetime64[us]").astype("int64"))
    _check_array(array, scalar, dtype, field)
    packed = _converted(array, scalar, field)  # C order, little-endian
    values = pb.Tensor(dtype=scalar.number, shape=array.shape, data=packed.tobytes())
    return pb.Column(name=name, values=values, statuses=_statuses(nulls))


def _is_nan(element: Any) -> bool:
    """How numpy marks what is missing among objects."""
    return isinstance(element, float) and math.isnan(element)


def _is_missing(element: Any) -> bool:
    """Whether it is pandas' own mark; looked at by name, since pandas needn't be installed."""
    return type(element).__name__ in ("NAType", "NaTType")


def _converted(array: Any, scalar: Scalar, field: str) -> Any:
    numpy = installed_numpy()
    assert numpy is not None
    try:
        with numpy.errstate(over="raise"):
            packed = numpy.ascontiguousarray(array, dtype=scalar.numpy)
    except FloatingPointError as error:
        raise _mismatch(field, DType(scalar), "a larger number") from error
    if scalar not in FLOATS and not numpy.array_equal(packed, array):
        raise _mismatch(field, DType(scalar), "a larger integer")
    return packed


def _array_nulls(array: Any) -> Any:
    """Which rows are null: NaT. NaN is a float's own null and needs no status."""
    numpy = installed_numpy()
    assert numpy is not None
    return numpy.isnat(array) if array.dtype.kind == "M" else numpy.zeros(0, bool)


def _scalar_of(array: Any, field: str) -> Scalar:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return BOOL
    if kind == "M":
        return TIMESTAMP
    if kind == "f" and size <= 8:
        return next(scalar for scalar in FLOATS if scalar.size_bytes == size)
    if kind in "iu" and not (kind == "u" and size == 8):
        return INT64
    raise InvalidRequest(f"{field}: an array of {array.dtype} can't be sent", field=field)


def _check_array(array: Any, scalar: Scalar, dtype: DType | None, field: str) -> None:
    allowed = {BOOL: "b", STRING: ""}.get(scalar, "iuf" if scalar in FLOATS else "iu")
    if array.dtype.kind not in allowed:
        raise _mismatch(field, dtype or DType(scalar), f"an array of {array.dtype}")
    if dtype is None or array.ndim == 0:
        return
    if dtype.length == 0 or array.shape[1:] != (() if dtype.length is None else (dtype.length,)):
        raise _mismatch(field, dtype, f"an array of shape {array.shape}")


def _inferred(rows: Sequence[Any], field: str) -> DType:
    """The one type of a sequence's elements; integers and floats together are floats."""
    given = [row for row in rows if row is not None]
    if given and all(isinstance(row, list | tuple) or is_array(row) for row in given):
        lengths = {len(row) for row in given}
        scalar = _inferred([element for row in given for element in row], field).scalar
        return DType(scalar, lengths.pop() if len(lengths) == 1 and 0 not in lengths else 0)
    found = {_scalar_for(row, field) for row in given}
    if found == {INT64, FLOAT64}:
        return DType(FLOAT64)
    if len(found) > 1:
        names = ", ".join(sorted(scalar.name for scalar in found))
        raise InvalidRequest(f"{field}: mixes {names}", field=field)
    return DType(found.pop() if found else FLOAT64)


def _scalar_for(element: Any, field: str) -> Scalar:
    if is_scalar(element):
        element = _python_scalar(element, field)
    kinds = ((bool, BOOL), (int, INT64), (float, FLOAT64), (str, STRING), (datetime, TIMESTAMP))
    for kind, scalar in kinds:
        if isinstance(element, kind):
            return scalar
    raise InvalidRequest(f"{field}: a {type(element).__name__} can't be sent", field=field)


def _filled(rows: Iterable[Any], dtype: DType) -> list[Any]:
    """The rows with a placeholder for each null."""
    placeholder = _placeholder(dtype.scalar)
    return [placeholder if row is None else row for row in rows]


def _placeholder(scalar: Scalar) -> Any:
    if scalar in FLOATS:
        return math.nan
    return "" if scalar is STRING else (False if scalar is BOOL else 0)


def _fixed(rows: Sequence[Any], dtype: DType, field: str) -> pb.Tensor:
    length = dtype.length or 0
    elements: list[Any] = []
    for row in rows:
        inner = [None] * length if row is None else _elements(row, dtype, field)
        if len(inner) != length:
            raise _mismatch(field, dtype, f"a row of {len(inner)} elements")
        elements += inner
    return _flat(_filled(elements, dtype), (len(rows), length), dtype.scalar, field)


def _variable(rows: Sequence[Any], scalar: Scalar, field: str) -> pb.Tensor:
    elements: list[Any] = []
    offsets = [0]
    for row in rows:
        elements += [] if row is None else _elements(row, DType(scalar, 0), field)
        offsets.append(len(elements))
    packed = _flat(elements, (len(rows), -1), scalar, field)
    packed.offsets.extend(offsets)
    return packed


def _elements(row: Any, dtype: DType, field: str) -> list[Any]:
    if is_array(row):
        return list(row.tolist())
    if not isinstance(row, list | tuple):
        raise _mismatch(field, dtype, f"a {type(row).__name__}")
    return list(row)


def _flat(elements: list[Any], shape: tuple[int, ...], scalar: Scalar, field: str) -> pb.Tensor:
    if scalar is STRING:
        return pb.Tensor(dtype=scalar.number, shape=shape, strings=_texts(elements, field))
    if scalar is TIMESTAMP:
        elements = [microseconds(element, field) for element in elements]
    if scalar is BOOL or any(isinstance(element, bool) for element in elements):
        _require_bools(elements, scalar, field)
    try:
        data = struct.pack(f"<{len(elements)}{scalar.code}", *elements)
    except (struct.error, OverflowError, TypeError) as error:
        raise _mismatch(field, DType(scalar), _unfit(elements, scalar)) from error
    return pb.Tensor(dtype=scalar.number, shape=shape, data=data)


def _unfit(elements: Iterable[Any], scalar: Scalar) -> str:
    """What the first element is that `struct` can't pack; its own words name format codes."""
    for element in elements:
        try:
            struct.pack(f"<{scalar.code}", element)
        except (struct.error, OverflowError, TypeError):
            is_number = isinstance(element, int) or (isinstance(element, float) and scalar in FLOATS)
            return "a larger number" if is_number else f"a {type(element).__name__}"
    return "another type"


def _require_bools(elements: list[Any], scalar: Scalar, field: str) -> None:
    """`struct` takes any object for a bool, and a bool for any number: neither is what was meant."""
    wrong = [element for element in elements if _scalar_for(element, field) is not BOOL]
    if scalar is not BOOL or wrong:
        raise _mismatch(field, DType(scalar), "another type" if scalar is BOOL else "a bool")


def _texts(elements: list[Any], field: str) -> list[str]:
    for element in elements:
        if not isinstance(element, str):
            raise _mismatch(field, DType(STRING), f"a {type(element).__name__}")
    return elements


def _statuses(nulls: Any) -> bytes:
    if not any(nulls):
        return b""
    return bytes(Status.NULL if null else Status.PRESENT for null in nulls)


def _within_int64(number: int, field: str) -> int:
    if not -(2**63) <= number < 2**63:
        raise _mismatch(field, DType(INT64), "a larger integer")
    return number


def _mismatch(field: str, dtype: DType, got: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: expected {dtype}, got {got}", field=field)
