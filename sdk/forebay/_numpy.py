"""numpy, where it is installed. Everything else of the client works without it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

numpy: ModuleType | None
try:
    import numpy
except ModuleNotFoundError:
    numpy = None


def is_array(values: Any) -> bool:
    """Whether `values` is an array, or knows how to become one (as a pandas Series does)."""
    return numpy is not None and hasattr(values, "__array__") and getattr(values, "ndim", 1) > 0


def is_scalar(value: Any) -> bool:
    """Whether `value` is one of numpy's scalars."""
    return numpy is not None and isinstance(value, numpy.generic)
