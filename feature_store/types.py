"""The small values of the feature store: what a read says of a value, what a write says of a row, a key
field.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.types import Outcome, Status

from registry.dtypes import DType

__all__ = ["NO_VALUE", "KeyField", "Outcome", "Status"]

NO_VALUE = (Status.NULL, Status.NOT_FOUND, Status.ERROR)
"""Where a status is one of these, a column holds a placeholder."""


@dataclass(frozen=True, slots=True)
class KeyField:
    """One field of an entity's key. `dtype` is int32, int64 or string."""

    name: str
    dtype: DType
