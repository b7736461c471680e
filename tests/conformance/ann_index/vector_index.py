"""What every VectorIndex does. An implementation's test file subclasses VectorIndexSuite and gives `build`;
answers are compared with numpy's in float64, as far as its `recall` promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from ann_index.index import VectorIndex
from ann_index.queries import MAX_K
from ann_index.types import Metric
from tests.support.vectors import clustered

Positions = NDArray[np.int64]
METRICS = list(Metric)
NONE = np.empty(0, np.int64)


def true_scores(
    vectors: NDArray[np.float32], query: NDArray[np.float32], metric: Metric
) -> NDArray[np.float64]:
    """Return every row's score, (n,) float64."""
    rows, target = vectors.astype(np.float64), query.astype(np.float64)
    if metric is Metric.L2:
        return -np.linalg.norm(rows - target, axis=1)
    if metric is Metric.COSINE:
        rows, target = rows / np.linalg.norm(rows, axis=1)[:, None], target / np.linalg.norm(target)
    return rows @ target


class VectorIndexSuite:
    """Subclass it, and define `build`, and `recall` and `count` where the index is approximate."""

    recall = 1.0
    count = 2_000
    dimension = 24

    @classmethod
    def build(cls, vectors: NDArray[np.float32], metric: Metric) -> VectorIndex:
        raise AssertionError("the subclass builds the index")

    @pytest.fixture(scope="class", params=METRICS, ids=lambda metric: metric.value)
    @classmethod
    def index(cls, request: pytest.FixtureRequest) -> VectorIndex:
        return cls.build(cls.vectors(), request.param)

    @classmethod
    def vectors(cls) -> NDArray[np.float32]:
        return clustered(cls.count, cls.dimension, clusters=200)

    @classmethod
    def queries(cls, count: int = 40) -> NDArray[np.float32]:
        rows = cls.vectors()[:: cls.count // count][:count]
        return rows + np.float32(0.05) * np.random.default_rng(1).standard_normal(rows.shape, np.float32)

    def assert_close(
        self,
        index: VectorIndex,
        queries: NDArray[np.float32],
        k: int,
        exclude: list[Positions] | None,
        recall: float,
    ) -> None:
        """Search, and compare shape, order, scores, exclusions, and the share of true rows found."""
        found = index.search(queries, k, exclude)
        assert found.positions.shape == found.scores.shape == (len(queries), k)
        assert found.positions.dtype == np.int64
        assert found.scores.dtype == np.float32
        hits = total = 0
        for row, query in enumerate(queries):
            scores = true_scores(self.vectors(), query, index.metric)
            allowed = np.setdiff1d(np.arange(self.count), exclude[row] if exclude else NONE)
            filled = min(k, len(allowed))
            got = found.positions[row, :filled]
            assert np.isin(got, allowed).all()
            assert len(np.unique(got)) == filled
            np.testing.assert_allclose(found.scores[row, :filled], scores[got], rtol=1e-4, atol=1e-4)
            assert (np.diff(found.scores[row, :filled]) <= 0).all()
            assert (found.positions[row, filled:] == -1).all()
            assert (found.scores[row, filled:] == -np.inf).all()
            wanted = np.sort(scores[allowed])[len(allowed) - filled :]
            hits += int((scores[got] >= wanted.min(initial=np.inf) - 1e-4).sum())
            total += filled
        assert hits >= recall * total

    @pytest.mark.parametrize("k", [1, 10, 100])
    def test_the_closest_come_first_when_nothing_is_excluded(self, index: VectorIndex, k: int) -> None:
        self.assert_close(index, self.queries(), k, None, self.recall)

    def test_it_says_what_it_holds_when_asked(self, index: VectorIndex) -> None:
        assert (index.count, index.dimension) == (self.count, self.dimension)
        assert isinstance(index.metric, Metric)

    def test_all_rows_come_or_the_limit_when_k_is_the_greatest(self, index: VectorIndex) -> None:
        self.assert_close(index, self.queries(3), MAX_K, None, 0.999)

    @pytest.mark.parametrize("excluded", [1, 20, 400])
    def test_the_next_closest_come_when_the_closest_are_excluded(
        self, index: VectorIndex, excluded: int
    ) -> None:
        """The hardest case for a graph: its whole way to the answer is paved with rows it may not return."""
        queries = self.queries(20)
        exclude = [
            np.argsort(-true_scores(self.vectors(), query, index.metric))[:excluded] for query in queries
        ]
        self.assert_close(index, queries, 10, exclude, min(self.recall, 0.9))

    def test_each_query_has_its_own_exclusions_when_they_differ(self, index: VectorIndex) -> None:
        query = np.repeat(self.queries(1), 3, axis=0)
        best = index.search(query[:1], 3).positions[0]
        found = index.search(query, 1, [NONE, best[:1], best[:2]])
        assert found.positions[:, 0].tolist() == best.tolist()

    def test_the_rest_comes_when_nearly_all_rows_are_excluded(self, index: VectorIndex) -> None:
        kept = np.array([3, 77, self.count - 1])
        exclude = np.setdiff1d(np.arange(self.count), kept)
        self.assert_close(index, self.queries(2), 5, [exclude, exclude], 1.0)

    def test_nothing_comes_when_all_rows_are_excluded(self, index: VectorIndex) -> None:
        self.assert_close(index, self.queries(1), 5, [np.arange(self.count)], 1.0)

    def test_unknown_and_repeated_exclusions_count_once_or_not_when_given(self, index: VectorIndex) -> None:
        query = self.queries(1)
        best = index.search(query, 2).positions[0]
        found = index.search(query, 1, [np.array([-1, best[0], -1, best[0]])])
        assert found.positions[0, 0] == best[1]

    def test_an_answer_is_the_same_when_others_are_asked_with_it(self, index: VectorIndex) -> None:
        queries = self.queries()
        together = index.search(queries, 10)
        for row, query in enumerate(queries):
            alone = index.search(query[None], 10)
            assert alone.positions[0].tolist() == together.positions[row].tolist()
            assert alone.scores[0].tolist() == together.scores[row].tolist()

    def test_answers_are_right_when_threads_search_with_different_exclusions(
        self, index: VectorIndex
    ) -> None:
        queries = self.queries()
        rng = np.random.default_rng(2)
        exclude = [rng.choice(self.count, size, replace=False) for size in range(0, 200, 5)]
        expected = index.search(queries, 10, exclude).positions

        def search(turn: int) -> bool:
            row = turn % len(queries)
            found = index.search(queries[row : row + 1], 10, exclude[row : row + 1])
            return found.positions[0].tolist() == expected[row].tolist()

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(search, range(240)))

    def test_no_rows_come_back_when_there_are_no_queries(self, index: VectorIndex) -> None:
        found = index.search(np.empty((0, self.dimension), np.float32), 3)
        assert found.positions.shape == (0, 3)

    @pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.value)
    def test_equally_close_rows_come_by_position_when_they_tie(self, metric: Metric) -> None:
        """60 rows of 3 directions, each direction 20 times: all ties, also at the cut."""
        vectors = np.tile(np.eye(3, 4, dtype=np.float32), (20, 1))
        index = self.build(vectors, metric)
        query = np.array([[3.0, 2.0, 1.0, 0.0]], np.float32)
        for k in (1, 5, 20, 25, 45, 60):
            expected = np.lexsort((np.arange(60), np.arange(60) % 3))[:k]
            assert index.search(query, k).positions[0].tolist() == expected.tolist()
        found = index.search(query, 5, [np.array([0, 6, 9])])
        assert found.positions[0].tolist() == [3, 12, 15, 18, 21]

    @pytest.mark.parametrize(
        ("query", "k", "field"),
        [
            (np.zeros((1, 24)), 1, "vector"),
            (np.zeros(24, np.float32), 1, "vector"),
            (np.ones((1, 23), np.float32), 1, "vector"),
            (np.full((1, 24), np.nan, np.float32), 1, "vector"),
            (np.full((1, 24), np.inf, np.float32), 1, "vector"),
            (np.full((1, 24), 1e16, np.float32), 1, "vector"),
            (np.ones((1, 24), np.float32), 0, "k"),
            (np.ones((1, 24), np.float32), 10_001, "k"),
        ],
        ids=[
            "float64",
            "one-dimensional",
            "dimension",
            "nan",
            "infinity",
            "huge",
            "k of zero",
            "k past the limit",
        ],
    )
    def test_a_search_is_refused_when_it_makes_no_sense(
        self, index: VectorIndex, query: NDArray[np.float32], k: int, field: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            index.search(query, k)
        assert caught.value.field == field

    def test_a_zero_vector_is_refused_when_the_metric_is_cosine(self, index: VectorIndex) -> None:
        query = np.zeros((1, self.dimension), np.float32)
        if index.metric is not Metric.COSINE:
            assert index.search(query, 1).positions[0, 0] >= 0
            return
        with pytest.raises(InvalidRequest) as caught:
            index.search(query, 1)
        assert caught.value.field == "vector"

    @pytest.mark.parametrize(
        "exclude",
        [[], [NONE, NONE], [np.array([2_000_000])], [np.array([1.0])], [np.array([[1]])]],
        ids=["too few", "too many", "past the end", "floats", "two-dimensional"],
    )
    def test_exclusions_are_refused_when_they_make_no_sense(
        self, index: VectorIndex, exclude: list[Positions]
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            index.search(self.queries(1), 1, exclude)
        assert caught.value.field == "exclude"

    def test_vectors_are_those_that_were_indexed(self, index: VectorIndex) -> None:
        positions = np.array([3, 0, self.count - 1, 3], np.int64)
        expected = self.vectors()[positions]
        if index.metric is Metric.COSINE:
            expected = expected / np.linalg.norm(expected, axis=1)[:, None]
        np.testing.assert_allclose(index.vectors(positions), expected, rtol=1e-5, atol=1e-6)
        assert index.vectors(np.empty(0, np.int64)).shape == (0, self.dimension)

    @pytest.mark.parametrize("position", [-1, 2_000_000])
    def test_vectors_of_a_position_that_is_not_there_are_refused(
        self, index: VectorIndex, position: int
    ) -> None:
        with pytest.raises(IndexError):
            index.vectors(np.array([0, position], np.int64))
