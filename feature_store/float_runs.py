"""Neighbouring floats that come in the type that they are stored in: nothing about them can be wrong, so they
are written together. encoder.py writes all else feature by feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from feature_store.layout import RowLayout
from registry.columns import ColumnData

_BLOCK_ROWS = 256
"""Rows transposed at a time: what is read and what is written of them stays in the cache."""


@dataclass(frozen=True, slots=True)
class FloatRun:
    """Scalars side by side in one field of the record, from element `start` on."""

    field: str
    start: int
    names: tuple[str, ...]
    dtype: np.dtype[np.generic]

    def write(
        self, records: NDArray[np.void], columns: Mapping[str, ColumnData], has_nulls: NDArray[np.bool_]
    ) -> bool:
        """Write the columns into `records` and mark rows with a NaN in `has_nulls`, both (n,), if all are
        arrays of the stored type; return whether they are. Cost: three passes over the values.
        """
        count = len(records)
        given = [columns[name] for name in self.names]
        if not all(map(self._is_stored, given, [count] * len(given))):
            return False
        matrix = np.array([column.values for column in given])  # (features, n)
        nulls = np.isnan(matrix)
        if nulls.any():
            matrix[nulls] = np.nan  # one of many
            has_nulls |= nulls.any(axis=0)
        target = records[self.field][:, self.start : self.start + len(given)]
        for start in range(0, count, _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            target[rows] = matrix[:, rows].T
        return True

    def _is_stored(self, column: ColumnData, count: int) -> bool:
        values = column.values
        return (
            column.nulls is None
            and isinstance(values, np.ndarray)
            and values.shape == (count,)
            and values.dtype == self.dtype
        )


def float_runs(layout: RowLayout) -> tuple[FloatRun, ...]:
    """Return the runs of a layout; a lone float is one too."""
    scalars = [
        slot for slot in layout.slots.values() if slot.is_scalar and slot.feature.dtype.scalar.is_float
    ]
    runs = []
    for (field, _), group in groupby(
        enumerate(scalars), key=lambda item: (item[1].field, item[1].start - item[0])
    ):
        slots = [slot for _, slot in group]
        names = tuple(slot.feature.name for slot in slots)
        runs.append(FloatRun(field, slots[0].start, names, slots[0].feature.dtype.scalar.numpy))
    return tuple(runs)
