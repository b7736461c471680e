"""The metrics of the tuner agree with scikit-learn's, on weighted rows too; its options are checked."""

from __future__ import annotations

import numpy as np
import pytest
from forebay.errors import InvalidRequest
from sklearn.metrics import ndcg_score, roc_auc_score

from jobs.tuning.metrics import Auc, Bootstrap, Ndcg, Rmse
from jobs.tuning.options import Threshold, parse_intervals

RANDOM = np.random.default_rng(3)
SCORES = RANDOM.integers(0, 20, 400).astype(np.float64)  # with many ties
OUTCOMES = (RANDOM.random(400) < 0.2 + SCORES / 40).astype(np.float64)
WEIGHTS = RANDOM.integers(0, 4, 400).astype(np.float64)
ONES = np.ones(400)


def test_auc_is_that_of_scikit_learn_when_rows_tie_and_have_weights() -> None:
    auc = Auc(SCORES, OUTCOMES)
    assert auc.of(ONES) == pytest.approx(roc_auc_score(OUTCOMES, SCORES), abs=1e-12)
    expected = roc_auc_score(OUTCOMES, SCORES, sample_weight=WEIGHTS)
    assert auc.of(WEIGHTS) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(auc.of(OUTCOMES))


def test_ndcg_is_that_of_scikit_learn_when_rows_tie() -> None:
    groups = np.repeat(np.arange(20), 20)
    gains = RANDOM.integers(0, 4, 400).astype(np.float64)
    gains[:20] = 0  # a group without a gain doesn't count
    expected = [ndcg_score([gains[groups == g]], [SCORES[groups == g]], k=5) for g in range(1, 20)]
    assert Ndcg(SCORES, gains, groups, 5).of(ONES) == pytest.approx(np.mean(expected), abs=1e-12)
    half = np.where(groups < 10, 1.0, 0.0)
    assert Ndcg(SCORES, gains, groups, 5).of(half) == pytest.approx(np.mean(expected[:9]), abs=1e-12)


def test_rmse_counts_rows_as_often_as_they_weigh() -> None:
    rmse = Rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    assert rmse.of(np.array([3.0, 1.0])) == 1.0
    assert np.isnan(rmse.of(np.zeros(2)))


def test_bootstrap_draws_entities_and_not_rows() -> None:
    clusters = np.repeat(np.arange(4), 100)
    values = np.repeat([0.0, 0.0, 1.0, 1.0], 100)  # of one entity all rows are the same
    interval = Bootstrap(clusters, 400, 0.95).interval(
        lambda weights: float(np.average(values, weights=weights))
    )
    assert interval.value == 0.5
    assert interval.low <= 0.25
    assert interval.high >= 0.75


@pytest.mark.parametrize(
    ("scores", "outcomes", "says"),
    [([1.0, 2.0], [0.0, 2.0], "0 or 1"), ([1.0, 2.0], [1.0, 1.0], "both kinds")],
)
def test_auc_refuses_outcomes_that_it_can_not_take(
    scores: list[float], outcomes: list[float], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        Auc(np.array(scores), np.array(outcomes))
    with pytest.raises(InvalidRequest, match="not negative"):
        Ndcg(np.array(scores), -np.array(outcomes), np.zeros(2, np.intp), 3)
    with pytest.raises(InvalidRequest, match="above 0"):
        Ndcg(np.array(scores), np.zeros(2), np.zeros(2, np.intp), 3)


def test_options_are_read_and_refused() -> None:
    assert Threshold.parse("0.72") == Threshold(absolute=0.72)
    assert Threshold.parse("2.5%").lost == pytest.approx(0.025)
    assert parse_intervals("1h, 1d") == (3_600_000_000, 86_400_000_000)
    for text in ("much", "100%", "-1%"):
        with pytest.raises(InvalidRequest, match="--threshold"):
            Threshold.parse(text)
    for text in ("1h,1h", "1d,1h", "soon", ""):
        with pytest.raises(InvalidRequest, match="--intervals"):
            parse_intervals(text)
