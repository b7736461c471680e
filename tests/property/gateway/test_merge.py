"""Merging what several searches find equals a union worked out with dictionaries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ann_index.entity_keys import EntityKeys, sorted_keys
from ann_index.exact_index import ExactIndex
from ann_index.types import Metric
from gateway.steps.merge import Found, merged
from registry.dtypes import Scalar
from registry.key_text import string_texts
from tests.support.examples import examples

MEMBERS = 3
SCORES = st.floats(-100, 100, width=32) | st.just(math.nan)
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 6)
STRINGS = st.text(min_size=1, max_size=3) | st.sampled_from(["a", "b:1", "{%}"])


def rows(keys: st.SearchStrategy[object]) -> st.SearchStrategy[list[tuple[int, object, float]]]:
    """Rows of (member, key, score), each key once per member, as a search gives them."""
    row = st.tuples(st.integers(0, MEMBERS - 1), keys, SCORES)
    return st.lists(row, max_size=12, unique_by=lambda row: row[:2])


def found(part: list[tuple[int, object, float]], dtype: type) -> Found:
    ordered = sorted(part, key=lambda row: row[0])
    return Found(
        np.array([key for _, key, _ in ordered], dtype),
        np.array([member for member, _, _ in ordered], np.intp),
        np.array([score for _, _, score in ordered], np.float32),
    )


@pytest.mark.parametrize(("keys", "dtype"), [(INTEGERS, np.int64), (STRINGS, object)])
@settings(max_examples=examples(80), deadline=None)
@given(data=st.data())
def test_each_key_comes_once_with_the_best_of_its_scores(
    keys: st.SearchStrategy[object], dtype: type, data: st.DataObject
) -> None:
    parts = data.draw(st.lists(rows(keys), min_size=1, max_size=4))
    best: dict[tuple[int, object], float] = {}
    for part in parts:
        for member, key, score in part:
            known = best.get((member, key), math.nan)
            best[member, key] = score if math.isnan(known) else max(known, score) if score == score else known
    union = merged([found(part, dtype) for part in parts], "key")
    values = union.columns["key"].tolist()
    expected = sorted(best)  # by member, then by key
    assert list(zip(union.member_of_row.tolist(), values, strict=True)) == expected
    np.testing.assert_array_equal(union.scores, np.array([best[row] for row in expected], np.float32))
    assert list(union.texts) == (string_texts(values) if dtype is object else list(map(str, values)))


@settings(max_examples=examples(40), deadline=None)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=2, max_size=4),
    dtype=st.sampled_from([Scalar.INT64, Scalar.STRING]),
)
def test_merged_searches_equal_a_brute_force_union(
    seed: int, sizes: list[tuple[int, int]], dtype: Scalar
) -> None:
    random = np.random.default_rng(seed)
    queries = random.standard_normal((MEMBERS, 3)).astype(np.float32)
    parts, best = [], dict[tuple[int, object], float]()
    for count, k in sizes:
        names = random.permutation(40)[:count]
        keys: EntityKeys = sorted_keys(
            [f"k{name}" for name in names] if dtype is Scalar.STRING else names, dtype
        )[0]
        vectors = random.standard_normal((count, 3)).astype(np.float32)
        neighbours = ExactIndex(vectors, Metric.L2).search(queries, k)
        valid = neighbours.positions >= 0
        values = keys.values(neighbours.positions[valid])
        column = np.array(values, object) if isinstance(values, list) else values
        parts.append(
            Found(column, np.repeat(np.arange(MEMBERS), valid.sum(axis=1)), neighbours.scores[valid])
        )
        for member in range(MEMBERS):
            distances = [-float(np.linalg.norm(vector - queries[member])) for vector in vectors]
            for place in sorted(range(count), key=lambda place: -distances[place])[:k]:
                [key] = list(keys.values(np.array([place])))
                best[member, key] = max(best.get((member, key), -math.inf), distances[place])
    union = merged(parts, "key")
    assert list(zip(union.member_of_row.tolist(), union.columns["key"].tolist(), strict=True)) == sorted(best)
    np.testing.assert_allclose(union.scores, [best[row] for row in sorted(best)], rtol=1e-4, atol=1e-5)
