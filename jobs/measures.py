"""What is counted of a view's values on their way into the store: nulls, and the least and the greatest where
the application file gives a range. `refresh_checks.py` judges it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.columns import ColumnData, VariableLists


@dataclass(slots=True)
class Measures:
    """Counts of the columns given so far. `ranged` are the features whose least and greatest are wanted.

    A null is what the store keeps as one: NaN in a float, in the first element of a list of floats. In a list
    every element counts for the range.
    """

    ranged: Collection[str] = ()
    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    extremes: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, columns: Mapping[str, ColumnData], count: int) -> None:
        """Count the columns of `count` rows. Cost: one or two passes over each."""
        self.rows += count
        for name, column in columns.items():
            mask = _null_mask(column)
            nulls = 0 if mask is None else int(np.count_nonzero(mask))
            self.nulls[name] = self.nulls.get(name, 0) + nulls
            if name in self.ranged and nulls < count:
                self._stretch(name, _present(column, mask if nulls else None))

    def merge(self, part: Measures) -> None:
        """Count what was counted elsewhere, of other rows."""
        self.rows += part.rows
        for name, nulls in part.nulls.items():
            self.nulls[name] = self.nulls.get(name, 0) + nulls
        for name, extremes in part.extremes.items():
            self._widen(name, *extremes)

    def _stretch(self, name: str, values: NDArray[np.generic]) -> None:
        if values.size:
            self._widen(name, float(np.fmin.reduce(values)), float(np.fmax.reduce(values)))

    def _widen(self, name: str, least: float, greatest: float) -> None:
        known = self.extremes.get(name, (least, greatest))
        self.extremes[name] = (min(known[0], least), max(known[1], greatest))


def _null_mask(column: ColumnData) -> NDArray[np.bool_] | None:
    values = column.values
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return column.nulls
    missing: NDArray[np.bool_] = np.isnan(values if values.ndim == 1 else values[:, 0])
    return missing if column.nulls is None else missing | column.nulls


def _present(column: ColumnData, mask: NDArray[np.bool_] | None) -> NDArray[np.generic]:
    """Return the values that aren't null, in a flat array; those of a list's missing elements are NaN."""
    values = column.values.values if isinstance(column.values, VariableLists) else column.values
    array = np.asarray(values)
    return (array if mask is None or isinstance(column.values, VariableLists) else array[~mask]).reshape(-1)
