"""Columns as callers give them, checked against a feature's type and turned into what rows hold. What is
wrong with a whole column is InvalidRequest; what is wrong with one row's value is a mark on that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from feature_store.schema import Feature
from registry.columns import ColumnData, VariableLists
from registry.dtypes import MAX_LIST_LENGTH, MAX_STRING_BYTES, DType, Scalar, whole_range

Mask = NDArray[np.bool_]

_KINDS = {"f": "iuf", "i": "iu", "b": "b"}
"""Kinds of numpy array that are accepted for a stored kind: an integer for a float, never the reverse."""


@dataclass(frozen=True, slots=True)
class FixedColumn:
    """Values as stored, (n, length); null rows are NaN in float columns, else 0. Masks are (n,)."""

    values: NDArray[Any]
    nulls: Mask
    invalid: Mask


@dataclass(frozen=True, slots=True)
class TailColumn:
    """Each row's bytes in the tail; empty where null or invalid. Masks are (n,)."""

    parts: list[bytes]
    nulls: Mask
    invalid: Mask


def fixed_column(feature: Feature, column: ColumnData, count: int) -> FixedColumn:
    """Return `count` values of a fixed-width feature as they are stored.

    A value is invalid when it doesn't fit: an integer outside the type's range, a finite number that a
    narrower float can't hold, a list of another length where lists come as VariableLists.

    Raises: InvalidRequest naming the feature for a wrong count, type or shape.
    """
    nulls = _given_nulls(feature, column, count)
    values, wrong_length = _matrix(feature, column, count, nulls)
    scalar = feature.dtype.scalar
    if scalar.is_float and values.dtype.kind == "f":
        nulls = nulls | np.isnan(values[:, 0])
    values = np.where(nulls[:, None], np.zeros((), values.dtype), values) if nulls.any() else values
    stored, misfits = _convert(values, scalar)
    if scalar.is_float:
        stored[nulls] = np.nan
    return FixedColumn(stored, nulls, misfits.any(axis=1) | (wrong_length & ~nulls))


def tail_column(feature: Feature, column: ColumnData, count: int) -> TailColumn:
    """Return `count` strings or variable lists as bytes.

    A value is invalid when it is a string of over MAX_STRING_BYTES or with lone surrogates, a list of over
    MAX_LIST_LENGTH elements, or holds an element that doesn't fit.

    Raises: InvalidRequest naming the feature for a wrong count or type. Cost: one Python step per row.
    """
    nulls = _given_nulls(feature, column, count)
    if feature.dtype.scalar is Scalar.STRING:
        return _strings(feature, column, nulls)
    return _lists(feature, column, nulls)


def storable(dtype: DType) -> str:
    """Return what a value of the type must be to be stored, in words."""
    if dtype.scalar is Scalar.STRING:
        return f"text of at most {MAX_STRING_BYTES} bytes in UTF-8"
    element = _range_in_words(dtype.scalar)
    if not dtype.is_list:
        return element
    length = f"{dtype.length}" if dtype.length else f"at most {MAX_LIST_LENGTH}"
    return f"a list of {length}, each {element}"


def _range_in_words(scalar: Scalar) -> str:
    if scalar is Scalar.TIMESTAMP:
        return "a time in the years 1 to 9999"
    if scalar is Scalar.BOOL:
        return "a bool"
    if scalar.is_float:
        return f"within ±{_LARGEST[scalar]:g}, or infinite"
    least, greatest = whole_range(scalar)
    return f"within {least} to {greatest}"


_LARGEST = {scalar: float(np.finfo(scalar.numpy.str).max) for scalar in Scalar if scalar.is_float}


def null_column(dtype: DType, count: int) -> ColumnData:
    """Return a column of `count` nulls."""
    nulls = np.ones(count, np.bool_)
    if dtype.scalar is Scalar.STRING:
        return ColumnData([None] * count)
    if dtype.is_variable:
        return ColumnData(
            VariableLists(np.empty(0, dtype.scalar.numpy), np.zeros(count + 1, np.int64)), nulls
        )
    shape = (count, dtype.length) if dtype.is_list else (count,)
    return ColumnData(np.zeros(shape, dtype.scalar.numpy), nulls)


def _given_nulls(feature: Feature, column: ColumnData, count: int) -> Mask:
    if column.count != count:
        raise InvalidRequest(
            f"feature {feature.name}: {column.count} values for {count} rows", field=feature.name
        )
    if column.nulls is None:
        return np.zeros(count, np.bool_)
    if column.nulls.shape != (count,):
        raise InvalidRequest(f"feature {feature.name}: its nulls are not one per row", field=feature.name)
    return column.nulls.astype(np.bool_)


def _matrix(feature: Feature, column: ColumnData, count: int, nulls: Mask) -> tuple[NDArray[Any], Mask]:
    """Return the values as (count, length), and which rows are lists of another length."""
    length, values = feature.dtype.length, column.values
    right_length = np.ones(count, np.bool_)
    if isinstance(values, VariableLists) and feature.dtype.is_list and values.is_sound():
        right_length = values.lengths == length
        matrix = np.zeros((count, length), values.values.dtype)
        chosen = right_length & ~nulls
        matrix[chosen] = values.values[values.offsets[:-1][chosen, None] + np.arange(length)]
    elif isinstance(values, np.ndarray) and values.shape == (
        (count, length) if feature.dtype.is_list else (count,)
    ):
        matrix = values.reshape(count, length)
    else:
        raise _wrong_type(feature)
    _check_kind(feature, matrix)
    return matrix, ~right_length


def _strings(feature: Feature, column: ColumnData, nulls: Mask) -> TailColumn:
    values = column.values
    if isinstance(values, VariableLists) or (
        isinstance(values, np.ndarray) and values.dtype.kind not in "OU"
    ):
        raise _wrong_type(feature)
    texts: Sequence[str | None] = values.tolist() if isinstance(values, np.ndarray) else values
    if not {type(text) for text in texts} <= {str, type(None)}:
        raise _wrong_type(feature)
    nulls = nulls | np.fromiter((text is None for text in texts), np.bool_, len(texts))
    parts = [b"" if null else _utf8(text or "") for text, null in zip(texts, nulls.tolist(), strict=True)]
    invalid = np.fromiter((part is None for part in parts), np.bool_, len(parts))
    return TailColumn([part or b"" for part in parts], nulls, invalid)


def _utf8(text: str) -> bytes | None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return None
    return encoded if len(encoded) <= MAX_STRING_BYTES else None


def _lists(feature: Feature, column: ColumnData, nulls: Mask) -> TailColumn:
    lists = column.values
    if not isinstance(lists, VariableLists) or not lists.is_sound():
        raise _wrong_type(feature)
    _check_kind(feature, lists.values)
    stored, misfits = _convert(lists.values, feature.dtype.scalar)
    invalid = lists.lengths > MAX_LIST_LENGTH
    if misfits.any():
        owners = np.searchsorted(lists.offsets, np.flatnonzero(misfits), side="right") - 1
        invalid[owners] = True
    invalid &= ~nulls
    data, bounds = stored.tobytes(), (lists.offsets * stored.itemsize).tolist()
    empty = (nulls | invalid).tolist()
    parts = [b"" if skip else data[a:b] for a, b, skip in zip(bounds[:-1], bounds[1:], empty, strict=True)]
    return TailColumn(parts, nulls, invalid)


def _convert(values: NDArray[Any], scalar: Scalar) -> tuple[NDArray[Any], Mask]:
    """Return a copy in the stored type, and where an element doesn't fit it (0 there)."""
    target = scalar.numpy
    if target.kind == "i":
        least, greatest = whole_range(scalar)
        misfits = (values < least) | (values > greatest)
        return np.where(misfits, 0, values).astype(target), misfits
    with np.errstate(over="ignore"):
        stored = values.astype(target)
    if target.kind != "f" or not np.isinf(stored).any():
        return stored, np.zeros(values.shape, np.bool_)
    misfits = np.isinf(stored) & np.isfinite(values)
    stored[misfits] = 0
    return stored, misfits


def _check_kind(feature: Feature, values: NDArray[Any]) -> None:
    if values.size and values.dtype.kind not in _KINDS[feature.dtype.scalar.numpy.kind]:
        raise _wrong_type(feature)


def _wrong_type(feature: Feature) -> InvalidRequest:
    return InvalidRequest(f"feature {feature.name}: the values are not {feature.dtype}", field=feature.name)
