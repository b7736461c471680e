"""Which rows there are, how they are chosen and judged, and what a run writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.pairs import Figure
from benchmarks.report import Result, problems, table, write
from benchmarks.rows import ROWS, Row, selected


def measure(_: Bench) -> Figure:
    return Figure(1, "us", 1)


def test_the_names_are_those_of_the_issues_when_all_rows_are_listed() -> None:
    names = {row.name for row in ROWS}
    assert len(names) == len(ROWS)
    assert names >= {
        "predict_p50_vs_echo",
        "predict_rate_c32_vs_echo",
        "predict_rate_c64_vs_echo",
        "predict_100_vs_10_p50",
        "two_process_cpu_ratio",
        "predict_1m_vs_1k_p50",
        "predict_rate_vs_handwritten",
        "predict_p99_vs_handwritten",
        "predict_100_rate_vs_handwritten",
        "cache_hit_p50_vs_echo",
        "near_cache_gain",
        "stream_rate_vs_floor",
        "stream_freshness_vs_floor",
        "stream_rate_vs_unary",
        "goodput_2x",
        "goodput_5x",
        "goodput_10x",
        "late_ratio",
        "critical_served_2x",
        "redis_pause_late_ratio",
        "redis_pause_errors",
        "redis_pause_recovery_s",
        "read_100x60_p50_vs_floor",
        "read_100x60_rate_vs_feast",
        "refresh_1m_vs_pipeline",
        "refresh_1m_rss_mb",
        "get_100x50_vs_floor",
        "get_500x250_vs_floor",
        "bytes_per_entity",
        "refresh_rate_vs_pipeline",
    }


def test_rows_keep_their_order_when_patterns_choose_them() -> None:
    assert selected([], large=True) == list(ROWS)
    assert [row.name for row in selected(["bytes_*", "predict_p50*"], large=False)] == [
        "predict_p50_vs_echo",
        "bytes_per_entity",
    ]


def test_a_pattern_is_refused_when_no_row_matches() -> None:
    with pytest.raises(ValueError, match="no row matches nonsense_"):
        selected(["predict_*", "nonsense_*"], large=False)


def test_large_rows_are_left_out_when_they_are_not_asked_for() -> None:
    rows = [Row("small", measure), Row("huge", measure, large=True)]
    assert [row.name for row in selected([], large=False, rows=rows)] == ["small"]
    assert [row.name for row in selected(["h*"], large=True, rows=rows)] == ["huge"]


@pytest.mark.parametrize(
    ("row", "value", "met"),
    [
        (Row("a", measure, at_most=2.5), 2.5, True),
        (Row("a", measure, at_most=2.5), 2.6, False),
        (Row("a", measure, at_least=0.28), 0.3, True),
        (Row("a", measure, at_least=0.28), 0.2, False),
        (Row("a", measure), 1, None),
    ],
)
def test_a_row_is_judged_when_it_has_a_target(row: Row, value: float, met: bool | None) -> None:
    assert row.met(value) is met


def test_a_failed_row_is_absent_and_told_when_a_run_is_written(tmp_path: Path) -> None:
    good = Result(Row("good", measure, at_most=2), Figure(1.23456, "us", 3, 2), "", 1, 0.5)
    bad = Result(Row("bad", measure), None, "RuntimeError: no", 1, 0.5)
    write(tmp_path, [good, bad], {"machine": {}})
    assert json.loads((tmp_path / "bench.json").read_text()) == {"good": 1.2346}
    raw = json.loads((tmp_path / "bench_raw.json").read_text())
    assert raw["rows"]["good"]["floor"] == 2
    assert raw["rows"]["bad"]["problem"] == "RuntimeError: no"
    assert problems([good, bad]) == ["bad: RuntimeError: no"]
    assert table([good, bad]).row_count == 2
