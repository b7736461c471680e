"""Which queries can be searched with."""

import numpy as np
import pytest
from forebay.errors import InvalidRequest

from ann_index.queries import are_searchable, checked_queries, normalised
from ann_index.types import Metric

ROWS = np.array([[1, 2], [0, 0], [np.nan, 1], [np.inf, 1], [-1e16, 0], [1e-30, 0], [1e15, 1e15]], np.float32)


@pytest.mark.parametrize("metric", list(Metric))
def test_the_rows_told_apart_are_those_that_a_search_refuses_when_asked_one_by_one(metric: Metric) -> None:
    accepted = []
    for row in ROWS:
        try:
            checked_queries(row[None], 2, metric, 1)
            accepted.append(True)
        except InvalidRequest:
            accepted.append(False)
    assert are_searchable(ROWS, metric).tolist() == accepted


def test_directions_survive_when_vectors_are_tiny_or_huge() -> None:
    units, zeros = normalised(np.array([[3e-30, 4e-30], [3e15, 4e15], [0, 0]], np.float32))
    assert units[:2] == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8]]))
    assert zeros.tolist() == [2]
