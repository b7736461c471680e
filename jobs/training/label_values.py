"""The values that a label is joined by: key fields and its time, checked and converted a column at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from feature_store.row_header import MAX_TIME_US
from registry.dtypes import DType, Scalar
from registry.key_text import MAX_KEY_BYTES

_ARROW = {Scalar.INT32: pa.int32(), Scalar.INT64: pa.int64(), Scalar.STRING: pa.string()}
_SECONDS_BELOW = 100_000_000_000_000
"""An integer below is in seconds or milliseconds by mistake: as microseconds it lies before March 1973."""


def checked_key(name: str, array: Any, dtype: DType, start: int) -> Any:
    """Return a key field's values in its own type. Rows are counted from `start`, for the errors.

    Whole numbers are taken for integers however they come: pandas makes floats of them, and CSV text.
    Raises: InvalidRequest naming the field.
    """
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    _refuse(name, array.is_null(), start, "has no value in")
    if dtype.scalar is Scalar.STRING:
        return _texts(name, array, start)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or _is_text(array.type)):
        raise InvalidRequest(f"labels: column {name} is {array.type}, and the key is {dtype}", field=name)
    try:
        return array.cast(_ARROW[dtype.scalar])
    except pa.ArrowInvalid as error:
        raise InvalidRequest(
            f"labels: column {name} has a value that isn't {dtype}, which the key is", field=name
        ) from error


def _texts(name: str, array: Any, start: int) -> Any:
    if not _is_text(array.type):
        raise InvalidRequest(f"labels: column {name} is {array.type}, and the key is string", field=name)
    texts = array.cast(pa.string())
    lengths = pc.binary_length(texts)
    _refuse(name, pc.equal(lengths, 0), start, "is empty in")
    _refuse(name, pc.greater(lengths, MAX_KEY_BYTES), start, f"has over {MAX_KEY_BYTES} bytes in")
    return texts


def checked_times(name: str, array: Any, start: int, now_us: int) -> NDArray[np.int64]:
    """Return the labels' times, (n,) int64 microseconds UTC; a time without a zone is taken as UTC.

    Raises: InvalidRequest naming the column: no time, one that can't be read, one after `now_us`.
    """
    _refuse(name, array.is_null(), start, "has no time in")
    times_us = _times_us(name, array, start)
    _refuse(name, pa.array(np.abs(times_us) > MAX_TIME_US), start, "has a time out of range in")
    _refuse(name, pa.array(times_us > now_us), start, "lies in the future in")
    return times_us


def _times_us(name: str, array: Any, start: int) -> NDArray[np.int64]:
    types = pa.types
    if types.is_integer(array.type):
        times = np.asarray(array.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
        if times.size and int(np.abs(times).max()) < _SECONDS_BELOW:
            raise InvalidRequest(
                f"labels: column {name} is too small for microseconds since 1970: convert it, or give "
                "timestamps",
                field=name,
            )
        return times
    if _is_text(array.type):
        return _parsed(name, array.to_pylist(), start)
    if types.is_timestamp(array.type) or types.is_date(array.type):
        if types.is_date(array.type):
            array = array.cast(pa.timestamp("ms"))
        micros = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False).cast(pa.int64())
        return np.asarray(micros.to_numpy(zero_copy_only=False), np.int64)
    raise InvalidRequest(f"labels: column {name} is {array.type}, which is no time", field=name)


def _parsed(name: str, texts: list[str], start: int) -> NDArray[np.int64]:
    times_us = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise InvalidRequest(
                f"labels: column {name} holds no time such as 2026-01-31T06:00 in row {start + row + 1}",
                field=name,
            ) from error
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        since = at - _EPOCH
        times_us[row] = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return times_us


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _is_text(arrow_type: Any) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _refuse(name: str, wrong: Any, start: int, what: str) -> None:
    """Raises: InvalidRequest where a row is wrong, counting them."""
    rows = np.flatnonzero(wrong.to_numpy(zero_copy_only=False))
    if rows.size:
        count = f"{rows.size:,} rows, the first being row" if rows.size > 1 else "row"
        raise InvalidRequest(f"labels: column {name} {what} {count} {start + int(rows[0]) + 1}", field=name)
