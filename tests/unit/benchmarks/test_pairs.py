"""Pairs and medians."""

from __future__ import annotations

import pytest

from benchmarks.pairs import Pair, Sample, interleaved, median_us, ratio_figure


def test_floor_and_ours_take_turns_when_they_are_interleaved() -> None:
    turns: list[str] = []
    ticks: list[int] = []

    def measured(name: str, value: float) -> Sample:
        turns.append(name)
        return Sample(value)

    pairs = interleaved(lambda: measured("floor", 2), lambda: measured("ours", 3), 3, ticks.append)
    assert turns == ["floor", "ours"] * 3
    assert ticks == [0, 1, 2, 3]
    assert [pair.ratio for pair in pairs] == [1.5] * 3


def test_the_figure_is_the_median_of_the_ratios_when_a_pair_is_disturbed() -> None:
    pairs = [Pair(Sample(100), Sample(ours)) for ours in (150, 160, 9_000)]
    figure = ratio_figure(pairs, "us")
    assert (figure.value, figure.ours, figure.floor) == (1.6, 160, 100)
    assert [repeat["ratio"] for repeat in figure.repeats] == [1.5, 1.6, 90]


def test_a_median_is_positive_when_work_takes_time() -> None:
    assert median_us(lambda: sum(range(1_000)), 0.01) == pytest.approx(20, abs=5_000)
