"""The rows of the bench: their names, their targets, and what measures them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from benchmarks.bench import Bench
from benchmarks.memory_row import bytes_per_entity
from benchmarks.pairs import Figure
from benchmarks.predict_rows import predict_p50, predict_rate
from benchmarks.read_rows import read_p50
from benchmarks.refresh_row import refresh_rate


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: met when it is at most, or at least, the target. Without a target it is only watched.

    A `large` row takes a million entities, or a peer's own environment; it is left out unless asked for.
    """

    name: str
    measure: Callable[[Bench], Figure]
    at_most: float | None = None
    at_least: float | None = None
    large: bool = False

    def met(self, value: float) -> bool | None:
        """Return whether a value meets the target; None where there is none."""
        if self.at_most is not None:
            return value <= self.at_most
        return None if self.at_least is None else value >= self.at_least


ROWS = (
    Row("predict_p50_vs_echo", predict_p50, at_most=2.5),
    Row("predict_rate_c8_vs_echo", partial(predict_rate, concurrency=8)),
    Row("predict_rate_c32_vs_echo", partial(predict_rate, concurrency=32), at_least=0.28),
    Row("read_1x60_p50_vs_floor", partial(read_p50, entities=1)),
    Row("read_10x60_p50_vs_floor", partial(read_p50, entities=10)),
    Row("read_100x60_p50_vs_floor", partial(read_p50, entities=100), at_most=1.6),
    Row("read_500x60_p50_vs_floor", partial(read_p50, entities=500)),
    Row("bytes_per_entity", bytes_per_entity, at_most=450),
    Row("refresh_rate_vs_pipeline", refresh_rate, at_least=0.6),
)


def selected(patterns: Sequence[str], *, large: bool, rows: Sequence[Row] = ROWS) -> list[Row]:
    """Return the rows that match any of the patterns, all where there is none; large ones only if asked for.

    Raises: ValueError for a pattern that matches no row.
    """
    there = [row for row in rows if large or not row.large]
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in there):
            raise ValueError(f"no row matches {pattern}; there are: {', '.join(row.name for row in there)}")
    return [row for row in there if not patterns or any(fnmatchcase(row.name, p) for p in patterns)]
