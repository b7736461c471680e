"""Rows that stand in for rows that aren't there: of defaults, or of nulls."""

from __future__ import annotations

import numpy as np

from feature_store.column_values import null_column
from feature_store.encoder import RowEncoder
from feature_store.layout import RowLayout, Slot
from registry.columns import ColumnData, VariableLists
from registry.dtypes import Scalar


def template_row(layout: RowLayout, *, with_defaults: bool = False) -> bytes:
    """Return a row in which every feature is null, or has its default where it declares one.

    Raises: InvalidRequest or ValueError for a default that isn't of its feature's type.
    """
    columns = {
        name: _default(slot) if with_defaults and slot.has_default else null_column(slot.feature.dtype, 1)
        for name, slot in layout.slots.items()
    }
    return RowEncoder(layout.schema).encode(columns, np.zeros(1, np.int64), 0)[0]


def _default(slot: Slot) -> ColumnData:
    """Return the default in the type that it was declared with, so that the encoder checks it."""
    dtype, default = slot.feature.dtype, slot.feature.default
    if dtype.scalar is Scalar.STRING:
        return ColumnData([default])
    values = np.asarray(default)
    if dtype.is_variable:
        return ColumnData(VariableLists(values, np.array([0, len(values)])))
    return ColumnData(np.broadcast_to(values, (1, dtype.length) if dtype.is_list else (1,)))
