"""`python -m benchmarks [PATTERN...]`: measure the rows that match, print the table, write benchmarks/out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.bench import Bench, BenchRunning, Options
from benchmarks.machine import machine_facts, versions
from benchmarks.report import Result, problems, table, write
from benchmarks.rows import Row, selected

OUT = Path(__file__).resolve().parent / "out"
_WIDTH = 110


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 where every row was measured, whatever it found."""
    options = _parser().parse_args(arguments)
    patterns = [part for text in (*options.patterns, options.only) for part in text.split()]
    try:
        rows = selected(patterns, large=options.large)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    facts: dict[str, Any] = {
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(),
        "versions": versions(),
        "client": "benchmarks/load.py: a process of its own, uvloop, closed loop, at most 4 connections",
        "seconds": options.seconds,
        "repeats": options.repeats,
        "overload_seconds": options.overload_seconds,
        "entities": options.entities,
    }
    wanted = Options(options.seconds, options.repeats, options.overload_seconds, options.entities)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    try:
        results = _measured(rows, wanted, facts, options.minutes)
    except BenchRunning as error:
        sys.stderr.write(f"{error}\n")
        return 1
    console = Console()
    console.width = max(console.width, _WIDTH)  # a pipe has 80 columns, which cut the figures
    console.print(table(results))
    for problem in problems(results):
        console.print(problem, style="red", soft_wrap=True, markup=False)
    console.print(f"{OUT / 'bench.json'}; every repeat is in bench_raw.json", style="dim", soft_wrap=True)
    return 1 if any(each.figure is None for each in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="rows by name or pattern (predict_*); default: all")
    parser.add_argument("--only", default="", help="more patterns, in one argument")
    parser.add_argument("--large", action="store_true", help="also the rows that take a million entities")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one load")
    parser.add_argument("--overload-seconds", type=float, default=30.0, help="length of one overload")
    parser.add_argument("--minutes", type=float, default=inf, help="no row begins after so many")
    parser.add_argument("--entities", type=int, default=100_000, help="fewer: for a quick look, no figures")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of floor and ours behind a ratio")
    return parser


def _measured(
    rows: Sequence[Row], options: Options, facts: Mapping[str, Any], minutes: float
) -> list[Result]:
    """Measure the rows; what is known is written after each, so that a run that is cut short isn't lost."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(rows) * options.repeats)
        display = _Display(progress, task, options.repeats)
        with Bench(OUT / "work", options, display.say, display.tick) as bench:
            results: list[Result] = []
            end_s = time.perf_counter() + minutes * 60
            for number, row in enumerate(rows):
                display.begin(number, row.name)
                if time.perf_counter() < end_s:
                    results.append(_result(row, bench))
                else:
                    late = f"not begun: the run's {minutes:g} minutes were over"
                    results.append(Result(row, None, late, 0.0, os.getloadavg()[0]))
                write(OUT, results, facts)
            return results


class _Display:
    """Tells the progress bar which row is measured, what is done for it, and how many pairs are done."""

    def __init__(self, progress: Progress, task: TaskID, repeats: int) -> None:
        self._progress = progress
        self._task = task
        self._repeats = repeats
        self._done = 0
        self._row = ""

    def begin(self, number: int, row: str) -> None:
        self._done, self._row = number * self._repeats, row
        self._progress.update(self._task, description=row, completed=self._done)

    def say(self, what: str) -> None:
        self._progress.update(self._task, description=f"{self._row}: {what}")

    def tick(self, pairs: int) -> None:
        description = f"{self._row}: pair {min(pairs + 1, self._repeats)} of {self._repeats}"
        self._progress.update(self._task, description=description, completed=self._done + pairs)


def _result(row: Row, bench: Bench) -> Result:
    start_s, load_average = time.perf_counter(), os.getloadavg()[0]
    try:
        figure, problem = row.measure(bench), ""
    except Exception as error:  # noqa: BLE001  a row that fails is told in the table; the others are measured
        figure, problem = None, f"{type(error).__name__}: {error}"
    return Result(row, figure, problem, time.perf_counter() - start_s, load_average)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
