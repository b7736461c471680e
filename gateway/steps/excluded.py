"""The keys that requests exclude from what is retrieved: a feature of their entity, as `exclude` names it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_store.codec import RowBlock
from feature_store.types import NO_VALUE
from gateway.batch import Batch
from gateway.plan import IndexSearch
from registry.columns import VariableLists


def excluded_keys(batch: Batch, search: IndexSearch) -> list[NDArray[np.generic]] | None:
    """Return the keys that each member excludes from a search; None where the search excludes nothing."""
    if search.exclude_view is None or search.exclude is None:
        return None
    lists = _lists(batch.blocks[search.exclude_view], search.exclude)
    offsets = lists.offsets
    return [lists.values[offsets[place] : offsets[place + 1]] for place in range(len(batch.members))]


def _lists(block: RowBlock, feature: str) -> VariableLists:
    """Return a feature as lists, a scalar as lists of one, and what has no value as empty ones."""
    values, statuses = block.column(feature)
    if isinstance(values, VariableLists):
        return values
    known = ~np.isin(statuses, NO_VALUE)
    array = np.asarray(values)
    lengths = known * (array.shape[1] if array.ndim > 1 else 1)  # (members,) int64
    return VariableLists(array[known].reshape(-1), np.concatenate(([0], np.cumsum(lengths))))
