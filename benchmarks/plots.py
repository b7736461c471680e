"""`python -m benchmarks.plots`: draw what the overload rows found, from benchmarks/out/bench_raw.json, into
docs/images: goodput and the p99 of those who are answered, against the offered load."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.__main__ import OUT
from benchmarks.processes import ROOT
from benchmarks.svg import Chart, Line, drawn
from benchmarks.workload import SLOW_BUDGET_MS

IMAGES = ROOT / "docs" / "images"
_PREFIX = "goodput_"


def charts(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Chart]:
    """Return the charts by file name. Raises: ValueError where no overload was measured."""
    measured = [row for name, row in sorted(rows.items()) if name.startswith(_PREFIX) and "facts" in row]
    if not measured:
        raise ValueError("no goodput_* row was measured: run `make bench ONLY='goodput_*'` first")
    ramp = measured[0]["facts"]["ramp"]
    peak_per_s = max(step["goodput_per_s"] for step in ramp)
    points = [_point(step, peak_per_s) for step in ramp]
    points += [_overloaded(row["facts"]) for row in measured]
    points.sort()
    end = points[-1][0]
    load = "offered load, in multiples of the peak"
    served = Line("answered in time", [(offered, goodput) for offered, goodput, _ in points])
    ideal = Line("all that could be", [(0.0, 0.0), (1.0, 1.0), (end, 1.0)], dashed=True)
    tail = Line("p99 of the answers", [(offered, p99) for offered, _, p99 in points])
    budget = Line("budget", [(0.0, SLOW_BUDGET_MS), (end, SLOW_BUDGET_MS)], dashed=True)
    return {
        "overload_goodput.svg": Chart("Goodput under overload", load, "goodput / peak", [served, ideal]),
        "overload_p99.svg": Chart("Latency under overload", load, "milliseconds", [tail, budget]),
    }


def _point(step: Mapping[str, Any], peak_per_s: float) -> tuple[float, float, float]:
    """Return offered load and goodput in multiples of the peak, and the p99 in milliseconds."""
    return step["offered_per_s"] / peak_per_s, step["goodput_per_s"] / peak_per_s, step["p99_us"] / 1000


def _overloaded(facts: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return the same of one overload, whose peak was measured right beside it."""
    peak_per_s = statistics.mean(facts["peaks_per_s"])
    return facts["offered_per_s"] / peak_per_s, facts["goodput_per_s"] / peak_per_s, facts["p99_us"] / 1000


def draw(rows: Mapping[str, Mapping[str, Any]], directory: Path) -> list[Path]:
    """Write the charts; return where."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, chart in charts(rows).items():
        path = directory / name
        path.write_text(drawn(chart))
        written.append(path)
    return written


def main(arguments: Sequence[str]) -> int:
    """Draw; return 1 where there is nothing to draw."""
    source = Path(arguments[0]) if arguments else OUT / "bench_raw.json"
    try:
        written = draw(json.loads(source.read_text())["rows"], IMAGES)
    except (FileNotFoundError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for path in written:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
