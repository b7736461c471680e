"""Columns of the wire as a pandas DataFrame, whose types depend on the features and never on what happens to
be missing."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from forebay._arrow import STATUS_NAMES
from forebay._dtypes import BOOL, INT32, INT64, STRING, TIMESTAMP
from forebay._unpack import ABSENT, ColumnView, scalar_of
from forebay.errors import NotUsable


def data_frame(keys: Sequence[ColumnView], features: Sequence[ColumnView], statuses: bool) -> Any:
    """Return the columns as a pandas.DataFrame. Raises: NotUsable without pandas."""
    pd = _pandas()
    columns = {view.name: _column(pd, view) for view in keys}
    for view in features:
        columns[view.name] = _column(pd, view)
        if statuses:
            columns[f"{view.name}.status"] = pd.Categorical.from_codes(
                [code - 1 for code in view.statuses.tolist()], STATUS_NAMES
            )
        times = view.event_times
        if times is not None:
            columns[f"{view.name}.event_time"] = pd.Series(times).dt.tz_localize("UTC")
    return pd.DataFrame(columns)


def _pandas() -> ModuleType:
    try:
        return importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        raise NotUsable("to_pandas needs pandas: pip install 'forebay[pandas]'") from error


def _column(pd: Any, view: ColumnView) -> Any:
    values, shape = view.values, view.message.values.shape
    scalar = scalar_of(view.message.values, view.name)
    if len(shape) == 2:
        return pd.Series(_rows(view), dtype=object)
    if scalar is STRING:
        return pd.Series(values, dtype="string")
    if scalar is TIMESTAMP:
        return pd.Series(values).dt.tz_localize("UTC")
    if scalar in (INT32, INT64, BOOL):
        kind = pd.arrays.BooleanArray if scalar is BOOL else pd.arrays.IntegerArray
        absent = view.statuses == ABSENT[0]
        for status in ABSENT[1:]:
            absent |= view.statuses == status
        return kind(values.copy(), absent)
    return pd.Series(values.copy())


def _rows(view: ColumnView) -> list[Any]:
    """Return a list per row, None where there is none."""
    return [view.row(position) for position in range(len(view))]
