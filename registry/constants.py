"""Whether a value written in the file, such as a default, is one of a given type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from registry.dtypes import MAX_LIST_LENGTH, MAX_STRING_BYTES, DType, Scalar, whole_range
from registry.problems import shown


def mismatch(value: Any, dtype: DType) -> str | None:
    """Return why `value` isn't a `dtype`; None if it is one. NaN and infinities aren't values."""
    if not dtype.is_list:
        return _scalar_mismatch(value, dtype.scalar)
    if not isinstance(value, list):
        return f"must be a list, as {dtype} is"
    if dtype.length and len(value) != dtype.length:
        return f"must have {dtype.length} elements, not {len(value)}"
    if len(value) > MAX_LIST_LENGTH:
        return f"must have at most {MAX_LIST_LENGTH} elements, not {len(value)}"
    reasons = (_scalar_mismatch(element, dtype.scalar) for element in value)
    return next((reason for reason in reasons if reason is not None), None)


def _scalar_mismatch(value: Any, scalar: Scalar) -> str | None:
    if scalar is Scalar.BOOL:
        fits = isinstance(value, bool)
    elif scalar is Scalar.STRING:
        return _string_mismatch(value)
    elif scalar.is_float:
        return _float_mismatch(value, scalar)
    else:
        return _integer_mismatch(value, scalar)
    return None if fits else f"must be a {scalar.value}, not {shown(value)}"


def _string_mismatch(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"must be a string, not {shown(value)}"
    size = len(value.encode("utf-8", "replace"))
    return None if size <= MAX_STRING_BYTES else f"must have at most {MAX_STRING_BYTES} bytes, not {size}"


def _float_mismatch(value: Any, scalar: Scalar) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"must be a number, not {shown(value)}"
    if not math.isfinite(value):
        return "must be a finite number: NaN marks what is missing, and a default is what replaces it"
    return None if abs(value) <= _LARGEST[scalar] else f"is out of the range of {scalar.value}"


def _integer_mismatch(value: Any, scalar: Scalar) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        unit = ", in microseconds since 1970" if scalar is Scalar.TIMESTAMP else ""
        return f"must be a whole number{unit}, not {shown(value)}"
    least, greatest = whole_range(scalar)
    if least <= value <= greatest:
        return None
    return f"is out of the range of {scalar.value}" + _years(scalar)


def _years(scalar: Scalar) -> str:
    return ", the years 1 to 9999" if scalar is Scalar.TIMESTAMP else ""


_LARGEST = {
    Scalar.FLOAT16: float(np.finfo(np.float16).max),
    Scalar.FLOAT32: float(np.finfo(np.float32).max),
    Scalar.FLOAT64: float(np.finfo(np.float64).max),
}
