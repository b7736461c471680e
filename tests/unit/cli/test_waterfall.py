"""A request's steps are drawn to scale."""

from __future__ import annotations

import pytest
from forebay.v1 import admin_pb2, prediction_pb2
from rich.console import Console

from cli.waterfall import BAR_CELLS, as_dict, bar, microseconds, waterfall

STEPS = ("admit", "recall", "hydrate", "retrieve", "hydrate_candidates", "assemble", "predict", "select")


def request() -> admin_pb2.RecentRequest:
    stages = [
        prediction_pb2.StageTiming(stage=step, start_us=place * 1000, duration_us=1000, given_us=25_000)
        for place, step in enumerate(STEPS)
    ]
    return admin_pb2.RecentRequest(
        method="forebay.v1.PredictionService/Predict",
        pipeline="home",
        status="OK",
        started_at_us=1_700_000_000_000_000,
        duration_us=8000,
        given_us=25_000,
        degradations=[
            prediction_pb2.Degradation(
                stage="hydrate_candidates", subject="trend", reason="NOT_FOUND", action="DEFAULTS", count=3
            )
        ],
        provenance=prediction_pb2.Provenance(
            prediction_id="p1", release=7, model="ranker", model_version="2", trace_id="t1", stages=stages
        ),
    )


def drawn(of: admin_pb2.RecentRequest | None = None) -> str:
    console = Console(width=140, no_color=True)
    with console.capture() as capture:
        console.print(waterfall(of or request()))
    return capture.get()


def test_every_step_has_a_bar_that_starts_where_the_one_before_ends() -> None:
    lines = [line for line in drawn().splitlines() if "█" in line]
    assert [line.split()[0] for line in lines] == list(STEPS)
    starts = [line.index("█") for line in lines]
    assert starts == sorted(set(starts))


def test_degradations_and_provenance_are_told() -> None:
    text = drawn()
    assert "degraded: hydrate_candidates trend: NOT_FOUND -> DEFAULTS (3 rows)" in text
    assert "release 7" in text
    assert "model ranker 2" in text
    assert "prediction p1" in text


def test_cache_is_told_when_it_took_part() -> None:
    assert "cache" not in drawn()
    hit = request()
    hit.provenance.cache, hit.provenance.cache_age_us = prediction_pb2.CACHE_OUTCOME_HIT, 1_200_000
    assert "cache HIT, 1.20 s old" in drawn(hit)


@pytest.mark.parametrize(
    ("start_us", "duration_us", "drawn_at"),
    [(0, 1000, (0, BAR_CELLS)), (0, 0, (0, 1)), (1000, 0, (BAR_CELLS - 1, 1)), (500, 9000, (22, 22))],
)
def test_bar_has_a_cell_and_stays_inside(start_us: int, duration_us: int, drawn_at: tuple[int, int]) -> None:
    assert bar(start_us, duration_us, 1000) == drawn_at


def test_nothing_is_divided_by_zero_when_a_request_took_no_time() -> None:
    assert bar(0, 0, 0) == (0, 1)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 us"), (999, "999 us"), (1500, "1.50 ms"), (2_500_000, "2.50 s")]
)
def test_durations_have_the_unit_that_suits_them(value: int, text: str) -> None:
    assert microseconds(value) == text


def test_integers_are_numbers_in_json() -> None:
    found = as_dict(request())
    assert found["duration_us"] == 8000
    assert found["provenance"]["release"] == 7
    assert found["provenance"]["stages"][1]["start_us"] == 1000
