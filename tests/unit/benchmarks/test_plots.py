"""The charts of the overload."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.plots import charts, draw
from benchmarks.svg import Chart, Line, drawn, ticks

SVG = "{http://www.w3.org/2000/svg}"


def row(offered: float, goodput: float) -> dict[str, Any]:
    step = {"offered_per_s": 50.0, "goodput_per_s": 50.0, "p99_us": 20_000.0}
    peak = {"offered_per_s": 110.0, "goodput_per_s": 100.0, "p99_us": 60_000.0}
    facts = {"offered_per_s": offered, "goodput_per_s": goodput, "p99_us": 90_000.0}
    return {"facts": {**facts, "peaks_per_s": [90.0, 110.0], "ramp": [step, peak]}}


def test_loads_are_in_multiples_of_the_peak_and_in_order_when_they_are_drawn() -> None:
    found = charts({"goodput_2x": row(200, 95), "goodput_10x": row(1000, 91), "late_ratio": {"facts": {}}})
    served, ideal = found["overload_goodput.svg"].lines
    assert served.points == [(0.5, 0.5), (1.1, 1.0), (2.0, 0.95), (10.0, 0.91)]
    assert ideal.points[-1] == (10.0, 1.0)
    tail, budget = found["overload_p99.svg"].lines
    assert tail.points[-1] == (10.0, 90.0)
    assert budget.points[-1] == (10.0, 100)


def test_there_is_nothing_to_draw_when_no_overload_was_measured() -> None:
    with pytest.raises(ValueError, match="no goodput_"):
        charts({"goodput_2x": {"problem": "MeasurementFailed"}})


def test_the_files_are_well_formed_when_they_are_written(tmp_path: Path) -> None:
    for path in draw({"goodput_2x": row(200, 95)}, tmp_path / "images"):
        root = ElementTree.parse(path).getroot()
        assert len(root.findall(f"{SVG}polyline")) == 2
        texts = [element.text for element in root.iter(f"{SVG}text")]
        assert "offered load, in multiples of the peak" in texts


def test_text_is_escaped_when_it_has_markup() -> None:
    chart = Chart("a < b", "x", "y", [Line("l & m", [(0.0, 0.0), (1.0, 2.0)])])
    assert "a &lt; b" in drawn(chart)
    assert "l &amp; m" in drawn(chart)


@pytest.mark.parametrize(
    ("highest", "expected"),
    [(10, [0, 2, 4, 6, 8, 10]), (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (97, [0, 20, 40, 60, 80, 100])],
)
def test_ticks_are_round_when_values_arent(highest: float, expected: list[float]) -> None:
    assert ticks(highest) == expected
