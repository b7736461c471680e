"""Recall by distance, and its bound."""

import numpy as np
import pytest

from ann_index.exact_index import ExactIndex
from ann_index.recall import lower_bound, measure_recall, recall_of, truth_of
from ann_index.types import Metric
from tests.support.vectors import clustered


@pytest.mark.parametrize("metric", list(Metric))
def test_recall_is_one_when_the_index_is_exact(metric: Metric) -> None:
    vectors = clustered(500, 8)
    vectors = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    recall = measure_recall(ExactIndex(vectors, metric), truth_of(vectors, metric, vectors[:50], 10, 1))
    assert (recall.value, recall.queries, recall.k) == (1.0, 50, 10)
    assert 0.9 < recall.bound < 1


def test_another_row_counts_as_found_when_it_is_equally_close() -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    truth = truth_of(vectors, Metric.INNER_PRODUCT, vectors[:1], 3, 1)
    reversed_rows = ExactIndex(vectors, Metric.INNER_PRODUCT).search(vectors[:1], 20).positions[:, 7:10]
    assert not np.isin(reversed_rows, [0, 1, 2]).any()
    assert recall_of(reversed_rows, truth).value == 1.0


def test_padding_and_further_rows_count_as_missed_when_found_instead() -> None:
    vectors = np.arange(10, dtype=np.float32)[:, None]
    truth = truth_of(vectors, Metric.L2, np.zeros((1, 1), np.float32), 4, 1)
    assert recall_of(np.array([[0, 1, 9, -1]]), truth).value == 0.5


def test_k_is_the_number_of_rows_when_there_are_fewer() -> None:
    vectors = clustered(4, 8)
    assert truth_of(vectors, Metric.L2, vectors, 10, 1).k == 4


@pytest.mark.parametrize(
    ("mean", "samples", "bound"), [(1.0, 1_000, 0.9973), (0.95, 1_000, 0.9374), (0.0, 10, 0.0)]
)
def test_the_bound_is_wilsons_when_recall_was_sampled(mean: float, samples: int, bound: float) -> None:
    assert lower_bound(mean, samples) == pytest.approx(bound, abs=1e-4)


def test_the_bound_holds_when_recall_is_measured_again_and_again() -> None:
    rng = np.random.default_rng(0)
    shares = rng.binomial(10, 0.93, (2_000, 200)).mean(axis=1) / 10
    assert np.mean([lower_bound(float(share), 200) <= 0.93 for share in shares]) >= 0.95
