"""Features and statuses as Arrow arrays, for the file that a training set is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.codec import FeatureColumn
from feature_store.types import NO_VALUE, Status
from jobs.training.view_values import NO_TIME
from registry.columns import VariableLists
from registry.dtypes import DType, Scalar

_TIMESTAMP = pa.timestamp("us", tz="UTC")
_SCALARS = {
    Scalar.BOOL: pa.bool_(),
    Scalar.INT32: pa.int32(),
    Scalar.INT64: pa.int64(),
    Scalar.FLOAT16: pa.float16(),
    Scalar.FLOAT32: pa.float32(),
    Scalar.FLOAT64: pa.float64(),
    Scalar.STRING: pa.string(),
    Scalar.TIMESTAMP: _TIMESTAMP,
}
_STATUS_NAMES = pa.array([Status(number).name if number else "" for number in range(max(Status) + 1)])


def arrow_type(dtype: DType) -> Any:
    """Return the Arrow type of a feature."""
    scalar = _SCALARS[dtype.scalar]
    if not dtype.is_list:
        return scalar
    return pa.list_(scalar) if dtype.is_variable_list else pa.list_(scalar, dtype.length)


def feature_array(column: FeatureColumn, dtype: DType) -> Any:
    """Return n values, null where there is none."""
    missing = np.isin(column.statuses, NO_VALUE)  # (n,) bool
    values = column.values
    if isinstance(values, VariableLists):
        offsets = pa.array(values.offsets.astype(np.int32), mask=np.append(missing, False))
        return pa.ListArray.from_arrays(offsets, _flat(values.values, dtype.scalar))
    if dtype.is_list:
        flat = _flat(np.ascontiguousarray(values).reshape(-1), dtype.scalar)
        return pa.FixedSizeListArray.from_arrays(flat, dtype.length, mask=pa.array(missing))
    if dtype.scalar is Scalar.TIMESTAMP:
        return pa.array(np.asarray(values), pa.int64(), mask=missing).cast(_TIMESTAMP)
    return pa.array(values, _SCALARS[dtype.scalar], mask=missing)


def status_array(statuses: NDArray[np.uint8]) -> Any:
    """Return n statuses by their names, as a dictionary."""
    return pa.DictionaryArray.from_arrays(pa.array(statuses, pa.uint8()), _STATUS_NAMES)


def event_time_array(times_us: NDArray[np.int64]) -> Any:
    """Return n event times, null where there is none."""
    return pa.array(times_us, pa.int64(), mask=times_us == NO_TIME).cast(_TIMESTAMP)


STATUS_TYPE = pa.dictionary(pa.uint8(), pa.string())
EVENT_TIME_TYPE = _TIMESTAMP


def _flat(values: NDArray[Any], scalar: Scalar) -> Any:
    if scalar is Scalar.TIMESTAMP:
        return pa.array(values, pa.int64()).cast(_TIMESTAMP)
    return pa.array(np.ascontiguousarray(values), _SCALARS[scalar])
