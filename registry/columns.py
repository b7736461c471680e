"""Columns of values as the parts hand them to each other: the write path, the row codec, the jobs. Pure data;
what a type means is in dtypes.py, how rows are laid out in feature_store/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class VariableLists:
    """n lists of any lengths, laid end to end: list i is `values[offsets[i]:offsets[i + 1]]`.

    Shapes: values (total,) of the element type; offsets (n + 1,) int64, ascending, first 0, last total.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many lists there are."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of elements of each list, (n,) int64."""
        return np.diff(self.offsets)

    def is_sound(self) -> bool:
        """Return whether the offsets have the shape and order promised above."""
        offsets = self.offsets
        return (
            self.values.ndim == 1
            and offsets.ndim == 1
            and len(offsets) > 0
            and offsets.dtype.kind in "iu"
            and int(offsets[0]) == 0
            and int(offsets[-1]) == len(self.values)
            and bool((offsets[1:] >= offsets[:-1]).all())
        )

    def take(self, rows: NDArray[np.intp]) -> VariableLists:
        """Return the lists `rows`, in that order. Cost: a copy of their elements."""
        lengths = self.lengths[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        elements = np.arange(int(offsets[-1])) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return VariableLists(self.values[elements], offsets)

    @classmethod
    def of(cls, lists: Sequence[Sequence[Any]], dtype: np.dtype[Any]) -> VariableLists:
        """Return `lists` laid end to end. Cost: one Python step per list."""
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(items) for items in lists], out=offsets[1:])
        parts = [np.asarray(items, dtype) for items in lists if len(items)]
        return cls(np.concatenate(parts) if parts else np.empty(0, dtype), offsets)


Values = NDArray[Any] | Sequence[str | None] | VariableLists


@dataclass(frozen=True, slots=True)
class ColumnData:
    """n values of one feature, and which of them are null.

    Shapes: values is an array (n,) for scalars and (n, length) for fixed lists, a sequence of n strings
    (None is null), or n VariableLists; nulls is (n,) bool, or None where the values say it themselves. In a
    float array NaN (in a fixed list: in its first element) is null whatever `nulls` says.
    """

    values: Values
    nulls: NDArray[np.bool_] | None = None

    @property
    def count(self) -> int:
        """How many values there are."""
        return self.values.count if isinstance(self.values, VariableLists) else len(self.values)
