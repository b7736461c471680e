import numpy as np
import pytest

from examples.movies.quality import Quality, QualityReport, difference, measure


def quality(name: str, ndcg: list[float]) -> Quality:
    return Quality(name, np.array(ndcg), (np.array(ndcg) > 0).astype(np.float64))


def report(ranker: list[float], retrieval: list[float], popularity: list[float]) -> QualityReport:
    return QualityReport(
        quality("ranker", ranker),
        quality("retrieval", retrieval),
        quality("popularity", popularity),
        user_count=len(ranker),
        without_relevant_count=1,
        relevant_count=9,
    )


def test_ndcg_is_one_when_all_relevant_movies_lead() -> None:
    assert measure("any", {1: [5, 6, 7]}, {1: {5, 6}}).ndcg.tolist() == [1.0]


def test_ndcg_discounts_by_rank_when_the_hit_comes_late() -> None:
    answer = measure("any", {1: [9, 8, 5], 2: [9]}, {1: {5}, 2: {5}})

    assert answer.ndcg.tolist() == [0.5, 0.0]
    assert answer.hit.tolist() == [1.0, 0.0]


def test_only_ten_count_when_a_ranking_is_longer() -> None:
    assert measure("any", {1: list(range(20))}, {1: {10}}).hit.tolist() == [0.0]


@pytest.mark.parametrize("ranking", [{}, {1: [5, 5]}])
def test_measuring_refuses_when_a_ranking_is_missing_or_repeats(ranking: dict[int, list[int]]) -> None:
    with pytest.raises(ValueError, match="any"):
        measure("any", ranking, {1: {5}})


def test_interval_holds_the_mean_when_resampled() -> None:
    random = np.random.default_rng(0)
    gain = difference(random.normal(0.3, 1.0, 400), np.zeros(400))

    assert gain.low < gain.mean < gain.high
    assert 0.15 < gain.high - gain.low < 0.25


def test_report_says_so_when_the_ranker_wins() -> None:
    won = report([0.5, 0.6, 0.7] * 20, [0.4, 0.5, 0.6] * 20, [0.1, 0.2, 0.3] * 20)

    assert won.beats_popularity
    assert "beats popularity: +200% NDCG@10" in won.sentences()[1]
    assert "also beats the order" in won.sentences()[2]
    assert won.figures()["ndcg_over_popularity_low"] > 0


@pytest.mark.parametrize(
    ("ranker", "retrieval", "cause"),
    [
        ([0.3, 0.1] * 20, [0.3, 0.1] * 20, "within the noise"),
        ([0.1, 0.1] * 20, [0.1, 0.1] * 20, "candidates are poor"),
        ([0.1, 0.1] * 20, [0.4, 0.4] * 20, "makes them worse"),
    ],
)
def test_report_says_plainly_that_it_does_not_and_why_when_the_ranker_loses(
    ranker: list[float], retrieval: list[float], cause: str
) -> None:
    lost = report(ranker, retrieval, [0.2, 0.2] * 20)

    assert not lost.beats_popularity
    assert "does NOT beat popularity" in lost.sentences()[1]
    assert cause in lost.sentences()[1]
