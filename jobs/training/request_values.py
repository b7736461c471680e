"""The request features that labels bring along, checked as a request's are: the declared type, the default
where there is no value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from jobs.arrow_columns import ColumnError, column_data, refusal
from registry.dtypes import DType, Scalar
from registry.pipeline_definitions import RequestFeature


@dataclass(frozen=True, slots=True)
class RequestValues:
    """n labels' request features, (n,) or (n, length) by name; `served` (n,), which of them would have been
    taken: a value that a request may not have would have ended it."""

    values: Mapping[str, NDArray[Any]]
    served: NDArray[np.bool_]


def check_request(schema: Any, declared: Mapping[str, RequestFeature]) -> None:
    """Raises: InvalidRequest naming a request feature that labels lack and need, or of another type."""
    for name, feature in declared.items():
        if name not in schema.names:
            if feature.default is None:
                raise InvalidRequest(
                    f"labels: no column {name}, a request feature without a default; they have "
                    f"{', '.join(schema.names)}",
                    field=name,
                )
            continue
        reason = refusal(schema.field(name).type, feature.dtype)
        if reason:
            raise InvalidRequest(f"labels: column {name} can't be {feature.dtype}: {reason}", field=name)


def request_values(batch: Any, declared: Mapping[str, RequestFeature], start: int) -> RequestValues:
    """Return the request features of the labels in `batch`, whose rows are counted from `start`.

    Raises: InvalidRequest naming a feature without a default that has no value in a row, or one that doesn't
    fit its type.
    """
    served = np.ones(batch.num_rows, np.bool_)
    values: dict[str, NDArray[Any]] = {}
    for name, feature in declared.items():
        if name not in batch.schema.names:
            values[name] = _repeated(feature.default, feature.dtype, batch.num_rows)
            continue
        try:
            data = column_data(batch.column(name), feature.dtype)
        except ColumnError as error:
            raise InvalidRequest(f"labels: column {name}: {error}", field=name) from error
        array, missing = _array(data.values, data.nulls, feature.dtype)
        if missing.any():
            if feature.default is None:
                row = start + int(np.flatnonzero(missing)[0]) + 1
                raise InvalidRequest(
                    f"labels: column {name}, a request feature without a default, has no value in row {row}",
                    field=name,
                )
            array = array.copy()
            array[missing] = feature.default
        if feature.dtype.scalar.is_float:
            served &= np.isfinite(array.reshape(batch.num_rows, -1).astype(np.float64)).all(axis=1)
        values[name] = array
    return RequestValues(values, served)


def _repeated(default: Any, dtype: DType, count: int) -> NDArray[Any]:
    shape = (count, dtype.length) if dtype.is_list else (count,)
    return np.broadcast_to(np.asarray(default, dtype.scalar.numpy), shape)


def _array(values: Any, nulls: Any, dtype: DType) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values, and which rows have none."""
    if dtype.scalar is Scalar.STRING:
        array = np.array(values, object)
        return array, np.array([value is None for value in values], np.bool_)
    array = np.asarray(values)
    missing = np.zeros(len(array), np.bool_) if nulls is None else nulls
    if array.dtype.kind == "f":
        missing = missing | np.isnan(array.reshape(len(array), -1)).any(axis=1)
    return array, missing


def request_array(values: NDArray[Any], dtype: DType) -> Any:
    """Return a request feature's values as an Arrow array."""
    if dtype.is_list:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, dtype.length)
    return pa.array(values)
