"""FAISS, scanning, and the reference agree to the last tie on any vectors of small integers, whose arithmetic
is exact.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ann_index.entity_keys import sorted_keys
from ann_index.exact_index import ExactIndex
from ann_index.faiss_build import Factory, build_faiss
from ann_index.faiss_index import FaissIndex
from ann_index.types import Metric
from registry.dtypes import Scalar
from runtime.engine_settings import AnnIndexSettings
from tests.support.examples import examples

COMPONENTS = st.integers(-3, 3).map(float)


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, list[np.ndarray]]:
    count, dimension, asked = draw(st.integers(1, 60)), draw(st.integers(1, 5)), draw(st.integers(1, 18))
    rows = draw(npst.arrays(np.float32, (count, dimension), elements=COMPONENTS))
    queries = draw(npst.arrays(np.float32, (asked, dimension), elements=COMPONENTS))
    exclude = draw(st.lists(st.lists(st.integers(-1, count - 1)), min_size=asked, max_size=asked))
    return rows, queries, draw(st.integers(1, 70)), [np.array(barred, np.int64) for barred in exclude]


@pytest.mark.parametrize("metric", [Metric.INNER_PRODUCT, Metric.L2])
@pytest.mark.parametrize("factory", ["Flat", "HNSW4", "IVF1,Flat"])
@settings(max_examples=examples(60), deadline=None)
@given(search=searches(), is_excluding=st.booleans())
def test_faiss_and_the_reference_agree_when_every_row_is_scanned(
    metric: Metric,
    factory: str,
    search: tuple[np.ndarray, np.ndarray, int, list[np.ndarray]],
    is_excluding: bool,
) -> None:
    rows, queries, k, exclude = search
    built = build_faiss(rows, metric, Factory.parse(factory), AnnIndexSettings())
    barred = exclude if is_excluding else None
    found = FaissIndex(built, metric, 1).search(queries, k, barred)
    expected = ExactIndex(rows, metric).search(queries, k, barred)
    assert found.positions.tolist() == expected.positions.tolist()
    assert np.array_equal(found.scores, expected.scores)


@given(values=st.lists(st.text(max_size=8), unique=True), unknown=st.text(max_size=8))
def test_string_keys_are_found_where_they_stand_when_any_text_is_one(values: list[str], unknown: str) -> None:
    keys, order = sorted_keys(values, Scalar.STRING)
    assert [values[row] for row in order] == keys.values(np.arange(len(values))) == sorted(values)
    assert keys.positions(sorted(values)).tolist() == list(range(len(values)))
    assert len(set(keys.texts_of(np.arange(len(values))))) == len(values)
    if unknown not in values:
        assert keys.positions([unknown]).tolist() == [-1]


@given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1), unique=True), unknown=st.integers(-(2**63), 2**63 - 1)
)
def test_integer_keys_are_found_where_they_stand_when_any_int64_is_one(
    values: list[int], unknown: int
) -> None:
    keys, order = sorted_keys(values, Scalar.INT64)
    assert [values[row] for row in order] == list(keys.values(np.arange(len(values)))) == sorted(values)
    assert keys.positions(sorted(values)).tolist() == list(range(len(values)))
    if unknown not in values:
        assert keys.positions([unknown]).tolist() == [-1]
