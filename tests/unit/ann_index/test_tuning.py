"""How hard a search is tuned to look, with which queries, and how long it takes."""

import numpy as np
import pytest

from ann_index.faiss_build import Factory, build_faiss, ignore_progress
from ann_index.faiss_index import FaissIndex
from ann_index.tuning import measure_latency, query_sets, tune
from ann_index.types import Metric
from runtime.clock import ManualClock
from runtime.engine_settings import AnnIndexSettings
from tests.support.vectors import clustered

SETTINGS = AnnIndexSettings(sample_queries=200, build_threads=2)
ROWS = clustered(8_000, 16, clusters=300)


def built(factory: str) -> tuple[FaissIndex, Factory]:
    parsed = Factory.parse(factory)
    return FaissIndex(build_faiss(ROWS, Metric.L2, parsed, SETTINGS), Metric.L2), parsed


@pytest.mark.parametrize("factory", ["HNSW8", "IVF80,Flat"])
def test_the_effort_is_the_least_that_reaches_the_target_when_tuned(factory: str) -> None:
    index, parsed = built(factory)
    queries = query_sets(ROWS, Metric.L2, None, 200)
    efforts = []
    for target in (0.5, 0.9, 0.985):
        tuned, effort, recall = tune(index, ROWS, parsed, queries, target, SETTINGS, ignore_progress)
        assert recall.bound >= target
        assert recall.value >= recall.bound
        assert tuned.search(ROWS[:5], 1).positions.shape == (5, 1)
        efforts.append(effort)
    assert efforts == sorted(efforts)
    assert efforts[0] < efforts[-1]


def test_the_greatest_effort_and_its_recall_come_back_when_no_effort_suffices() -> None:
    index, parsed = built("IVF80,Flat")
    queries = query_sets(ROWS, Metric.L2, None, 50)
    _, effort, recall = tune(index, ROWS, parsed, queries, 1.0, SETTINGS, ignore_progress)
    assert effort == 80
    assert recall.value == 1.0
    assert recall.bound < 1.0


def test_nothing_is_tuned_and_the_bound_is_the_value_when_the_index_is_exact() -> None:
    index, parsed = built("Flat")
    queries = query_sets(ROWS, Metric.L2, None, 50)
    _, effort, recall = tune(index, ROWS, parsed, queries, 1.0, SETTINGS, ignore_progress)
    assert (effort, recall.value, recall.bound) == (0, 1.0, 1.0)


def test_given_queries_come_first_and_rows_complete_them_when_there_are_few() -> None:
    given = np.full((30, 16), 7.0, np.float32)
    sets = query_sets(ROWS, Metric.L2, given, 100)
    assert len(sets.tuning) == len(sets.measuring) == 100
    assert (sets.tuning == 7.0).all(axis=1).sum() == (sets.measuring == 7.0).all(axis=1).sum() == 15


def test_queries_are_the_same_and_no_rows_when_made_from_rows() -> None:
    sets, again = (query_sets(ROWS, Metric.L2, None, 100) for _ in range(2))
    assert np.array_equal(sets.measuring, again.measuring)
    assert not (sets.measuring[:, None] == ROWS[None, :500]).all(axis=2).any()


def test_queries_are_normalised_when_the_metric_is_cosine() -> None:
    given = np.concatenate([np.zeros((1, 16)), np.ones((9, 16))]).astype(np.float32)
    sets = query_sets(ROWS, Metric.COSINE, given, 50)
    lengths = np.linalg.norm(np.concatenate([sets.tuning, sets.measuring]), axis=1)
    assert len(lengths) == 99
    assert lengths == pytest.approx(np.ones(99), abs=1e-5)


def test_latency_is_what_the_clock_says_when_searches_are_timed() -> None:
    index, _ = built("Flat")
    latency = measure_latency(index, ROWS[:7], 20, ManualClock(), ignore_progress)
    assert (latency.p50_us, latency.p99_us, latency.searches) == (0.0, 0.0, 20)
