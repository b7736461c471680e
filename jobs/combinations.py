"""The combinations of inputs that answers are precomputed for, as a person writes them: `hour=0,6,12,18`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from forebay.errors import InvalidRequest

from registry.constants import mismatch
from registry.dtypes import DType, Scalar

Value = bool | int | float | str


def combinations(texts: Sequence[str], dtypes: Mapping[str, DType]) -> dict[str, list[Value]]:
    """Return each named input's values, typed, in the order they are written.

    Raises: InvalidRequest for a text without `=`, an input that is unknown, a list, or named twice, and for a
    value that isn't of its type, or given twice.
    """
    found: dict[str, list[Value]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not values.strip():
            raise _wrong(f"{text!r} is not of the form input=value,value,...")
        if name in found:
            raise _wrong(f"{name} is given twice")
        found[name] = _values(name, values, _dtype(name, dtypes))
    return found


def bins(texts: Sequence[str], dtypes: Mapping[str, DType]) -> dict[str, float]:
    """Return the width of each named input's bins, from texts such as `hour=6`. Raises: InvalidRequest."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, width = text.partition("=")
        name = name.strip()
        if name not in dtypes:
            raise InvalidRequest(f"bin: {_unknown(name, dtypes)}", field="bin")
        if dtypes[name].is_list or dtypes[name].scalar in (Scalar.STRING, Scalar.BOOL):
            raise InvalidRequest(f"bin: {name} is {dtypes[name]}: only a number falls into bins", field="bin")
        try:
            found[name] = float(width)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf"):
            raise InvalidRequest(
                f"bin: {text!r} is not of the form input=width, of a width above 0", field="bin"
            )
    return found


def _dtype(name: str, dtypes: Mapping[str, DType]) -> DType:
    dtype = dtypes.get(name)
    if dtype is None:
        raise _wrong(_unknown(name, dtypes))
    if dtype.is_list:
        raise _wrong(f"{name} is {dtype}: only single values can be combined")
    return dtype


def _unknown(name: str, dtypes: Mapping[str, DType]) -> str:
    return f"the pipeline takes no {name!r}; it takes {', '.join(dtypes)}"


def _values(name: str, text: str, dtype: DType) -> list[Value]:
    [parts] = csv.reader([text], skipinitialspace=True)
    values = [_value(name, part.strip(), dtype) for part in parts]
    if len(set(values)) < len(values):
        raise _wrong(f"{name}: a value is given twice")
    return values


def _value(name: str, text: str, dtype: DType) -> Value:
    try:
        value: Value = _READ.get(dtype.scalar, float)(text)
    except ValueError:
        raise _wrong(f"{name}: {text!r} is no {dtype}") from None
    reason = mismatch(value, dtype)
    if reason is not None:
        raise _wrong(f"{name}: {text!r} {reason}")
    return value


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text.lower() == "true"


def _timestamp(text: str) -> int:
    """Return microseconds, from a whole number of them or from ISO 8601; UTC where no zone is said."""
    try:
        return int(text)
    except ValueError:
        at = datetime.fromisoformat(text)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1e6)


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(f"combinations: {message}", field="combinations")


_READ: dict[Scalar, Callable[[str], Any]] = {
    Scalar.BOOL: _bool,
    Scalar.INT32: int,
    Scalar.INT64: int,
    Scalar.STRING: str,
    Scalar.TIMESTAMP: _timestamp,
}
