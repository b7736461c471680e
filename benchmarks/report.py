"""What a run leaves: a table for people, bench.json for comparisons, bench_raw.json for whoever doubts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.pairs import Figure
from benchmarks.rows import Row

_WHOLE = 100
"""From here on numbers are shown without a fraction."""


@dataclass(frozen=True, slots=True)
class Result:
    """A row and its figure, or why there is none; how long it took, and the machine's load as it began."""

    row: Row
    figure: Figure | None
    problem: str
    seconds: float
    load_average_1m: float


def flat(results: Sequence[Result]) -> dict[str, float]:
    """Return name -> number, of the rows that have one."""
    return {each.row.name: round(each.figure.value, 4) for each in results if each.figure is not None}


def raw(results: Sequence[Result], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything: `facts` of the run, and every repeat of every row."""
    return {**facts, "rows": {each.row.name: _raw_row(each) for each in results}}


def write(directory: Path, results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Write bench.json and bench_raw.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bench.json").write_text(json.dumps(flat(results), indent=2) + "\n")
    (directory / "bench_raw.json").write_text(json.dumps(raw(results, facts), indent=2) + "\n")


def table(results: Sequence[Result]) -> Table:
    """Return the table of a run."""
    shown = Table()
    shown.add_column("name", no_wrap=True)
    for heading in ("figure", "target", "floor", "ours"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for each in results:
        shown.add_row(each.row.name, *_cells(each))
    return shown


def problems(results: Sequence[Result]) -> list[str]:
    """Return why rows have no figure, a line each."""
    return [f"{each.row.name}: {each.problem}" for each in results if each.figure is None]


def _cells(result: Result) -> tuple[str | Text, ...]:
    if result.figure is None:
        return ("", _target(result.row), "", "", Text("failed", "red"))
    figure = result.figure
    return (
        _number(figure.value) if figure.floor is None else f"{figure.value:.2f}",
        _target(result.row),
        "" if figure.floor is None else f"{_number(figure.floor)} {figure.unit}",
        f"{_number(figure.ours)} {figure.unit}",
        _verdict(result.row.met(figure.value)),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE or value == 0 else f"{value:.3g}"


def _target(row: Row) -> str:
    if row.at_most is not None:
        return f"at most {row.at_most:g}"
    return "" if row.at_least is None else f"at least {row.at_least:g}"


def _verdict(met: bool | None) -> Text:
    if met is None:
        return Text("")
    return Text("met", "green") if met else Text("missed", "red")


def _raw_row(result: Result) -> dict[str, Any]:
    figure = {"problem": result.problem} if result.figure is None else asdict(result.figure)
    target = {"at_most": result.row.at_most, "at_least": result.row.at_least}
    return {**figure, **target, "seconds": result.seconds, "load_average_1m": result.load_average_1m}
