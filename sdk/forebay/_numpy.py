"""numpy, where it is installed. Everything else of the client works without it."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any


@cache
def installed_numpy() -> ModuleType | None:
    """Return numpy, loaded when it is first needed (it takes 0.1 s); None where it isn't installed."""
    try:
        return importlib.import_module("numpy")
    except ModuleNotFoundError:
        return None


def is_array(values: Any) -> bool:
    """Whether `values` is an array, or knows how to become one (as a pandas Series does)."""
    # Who has an array has loaded numpy.
    return "numpy" in sys.modules and hasattr(values, "__array__") and getattr(values, "ndim", 1) > 0


def is_scalar(value: Any) -> bool:
    """Whether `value` is one of numpy's scalars."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)
