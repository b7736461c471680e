"""Arrow arrays as column data of a declared dtype, without touching single values. What can't be converted is
told from the schema alone (`refusal`), before a row is read; `view_query.py` asks, `view_rows.py` converts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.arrow_numpy import numbers
from registry.columns import ColumnData, VariableLists
from registry.dtypes import DType, Scalar

_ARROW: dict[Scalar, Any] = {
    Scalar.BOOL: pa.bool_(),
    Scalar.INT32: pa.int32(),
    Scalar.INT64: pa.int64(),
    Scalar.STRING: pa.string(),
}

_STORED: dict[Scalar, Any] = {
    Scalar.INT32: pa.int32(),
    Scalar.INT64: pa.int64(),
    Scalar.FLOAT16: pa.float16(),
    Scalar.FLOAT32: pa.float32(),
    Scalar.FLOAT64: pa.float64(),
}
"""The types whose arrays are column data as they are, where nothing is null."""


class ColumnError(ValueError):
    """A column's values don't fit the declared dtype; the message says which rule they break."""


def refusal(arrow_type: Any, dtype: DType) -> str:
    """Return why a column of this Arrow type can't hold `dtype`; empty when it can."""
    is_list = _is_list(arrow_type)
    if is_list != dtype.is_list:
        return f"the column is {arrow_type}, not {'a list' if dtype.is_list else 'a single value'}"
    length = arrow_type.list_size if pa.types.is_fixed_size_list(arrow_type) else dtype.length
    if dtype.is_list and not dtype.is_variable_list and length != dtype.length:
        return f"the column's lists have {length} elements, not {dtype.length}"
    element = arrow_type.value_type if is_list else arrow_type
    if not _accepts(element, dtype.scalar):
        return f"the column is {arrow_type}{_remedy(element, dtype.scalar)}"
    return ""


def column_data(array: Any, dtype: DType) -> ColumnData:
    """Return an Arrow array (n rows) as column data; nulls are NaN in floats and a mask elsewhere.

    Raises: ColumnError. Cost: a few vectorised passes; strings become Python objects in one native pass.
    """
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if not dtype.is_list and array.type == _STORED.get(dtype.scalar) and not array.null_count:
        return ColumnData(numbers(array), None)
    reason = refusal(array.type, dtype)
    if reason:
        raise ColumnError(reason)
    if not dtype.is_list:
        return _scalars(array, dtype.scalar)
    return _variable_lists(array, dtype) if dtype.is_variable_list else _fixed_lists(array, dtype)


def _scalars(array: Any, scalar: Scalar) -> ColumnData:
    nulls = _null_mask(array)
    if scalar is Scalar.STRING:
        texts = array.cast(pa.string()).to_numpy(zero_copy_only=False).tolist()
        return ColumnData(texts, nulls)
    values = _values(array, scalar)
    return ColumnData(values, None if scalar.is_float else nulls)


def _fixed_lists(array: Any, dtype: DType) -> ColumnData:
    nulls = _null_mask(array)
    lengths = numbers(pc.fill_null(pc.list_value_length(array), dtype.length))
    wrong = np.flatnonzero(lengths != dtype.length)
    if wrong.size:
        raise ColumnError(f"a list has {lengths[wrong[0]]} elements, not {dtype.length}")
    present = _elements(array, dtype.scalar).reshape(-1, dtype.length)  # (rows that aren't null, length)
    if nulls is None:
        return ColumnData(present, None)
    filler = np.nan if dtype.scalar.is_float else 0
    values = np.full((len(array), dtype.length), filler, dtype=present.dtype)
    values[~nulls] = present
    return ColumnData(values, None if dtype.scalar.is_float else nulls)


def _variable_lists(array: Any, dtype: DType) -> ColumnData:
    lengths = numbers(pc.fill_null(pc.list_value_length(array), 0))
    offsets = np.zeros(len(array) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return ColumnData(VariableLists(_elements(array, dtype.scalar), offsets), _null_mask(array))


def _elements(array: Any, scalar: Scalar) -> NDArray[Any]:
    """Return the elements of all lists that aren't null, end to end."""
    flat = pc.list_flatten(array)
    if flat.null_count and not scalar.is_float:
        raise ColumnError(f"a list of {scalar.value} has a null element")
    return _values(flat, scalar)


def _values(array: Any, scalar: Scalar) -> NDArray[Any]:
    """Return fixed-width values, nulls as NaN or zero."""
    filler: Any = np.nan if scalar.is_float else False if scalar is Scalar.BOOL else 0
    try:
        cast = _cast(array, scalar)
        if cast.null_count:
            cast = cast.fill_null(pa.scalar(filler, type=cast.type))
    except pa.ArrowInvalid as error:
        raise ColumnError(f"a value doesn't fit {scalar.value}") from error
    return numbers(cast)


def _cast(array: Any, scalar: Scalar) -> Any:
    if scalar is Scalar.TIMESTAMP:
        return _microseconds(array)
    if not scalar.is_float:
        return array.cast(_ARROW[scalar])
    # Floats keep their width: the row encoder narrows them, and refuses what would become infinite.
    return array if pa.types.is_floating(array.type) else array.cast(pa.float64(), safe=False)


def _microseconds(array: Any) -> Any:
    """Return int64 microseconds UTC, rounded down; a timestamp without a zone is taken as UTC.

    Raises: pa.ArrowInvalid for a time that no microseconds can say.
    """
    if pa.types.is_int64(array.type):
        return array
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"))
    if array.type.unit == "ns":
        # Not by a cast, which rounds towards 1970.
        nanoseconds = array.cast(pa.int64())
        rounded = pc.divide(nanoseconds, 1000)
        return pc.subtract(rounded, pc.less(nanoseconds, pc.multiply(rounded, 1000)).cast(pa.int64()))
    return array.cast(pa.timestamp("us", tz=array.type.tz)).cast(pa.int64())


def _null_mask(array: Any) -> NDArray[np.bool_] | None:
    """Return (n,) bool, True where null; None when nothing is."""
    if not array.null_count:
        return None
    return numbers(array.is_null())


def _is_list(arrow_type: Any) -> bool:
    types = pa.types
    return bool(
        types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type)
    )


def _accepts(element: Any, scalar: Scalar) -> bool:
    types = pa.types
    if scalar is Scalar.BOOL:
        return bool(types.is_boolean(element))
    if scalar is Scalar.STRING:
        text = element.value_type if types.is_dictionary(element) else element
        return bool(types.is_string(text) or types.is_large_string(text))
    if scalar is Scalar.TIMESTAMP:
        return bool(types.is_timestamp(element) or types.is_date(element) or types.is_int64(element))
    if scalar.is_float:
        return bool(types.is_floating(element) or types.is_integer(element) or types.is_decimal(element))
    # SQL sums integers into decimals without a fraction.
    return bool(types.is_integer(element) or (types.is_decimal(element) and element.scale == 0))


def _remedy(element: Any, scalar: Scalar) -> str:
    if scalar.is_integer and (pa.types.is_floating(element) or pa.types.is_decimal(element)):
        return f": a fraction would be lost in {scalar.value}; cast it in the batch's SQL, or declare a float"
    return f", which does not convert to {scalar.value}"
