"""The rows of the bench: their names, their targets, and what measures them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from benchmarks import large_refresh, overload_rows, peer_rows, store_pause, stream_rows
from benchmarks.bench import Bench
from benchmarks.feast_row import rate_vs_feast
from benchmarks.get_rows import get_vs_floor
from benchmarks.memory_row import bytes_per_entity
from benchmarks.near_cache_row import near_cache_gain
from benchmarks.overload_rows import admitted_p99, critical_served, goodput, late_ratio
from benchmarks.pairs import Figure
from benchmarks.predict_rows import predict_100_vs_10, predict_p50, predict_rate
from benchmarks.read_rows import read_p50
from benchmarks.recall_rows import cache_hit_p50, stream_rate
from benchmarks.refresh_row import refresh_rate
from benchmarks.scale_rows import predict_p50_by_entities, two_process_cpu


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
    Row("predict_p50_vs_echo", predict_p50, at_most=2.2),
    Row("predict_rate_c8_vs_echo", partial(predict_rate, concurrency=8)),
    Row("predict_rate_c32_vs_echo", partial(predict_rate, concurrency=32), at_least=0.45),
    Row("predict_rate_c64_vs_echo", partial(predict_rate, concurrency=64), at_least=0.45),
    Row("predict_100_vs_10_p50", predict_100_vs_10, at_most=2.0),
    Row("cache_hit_p50_vs_echo", cache_hit_p50, at_most=1.15),
    Row("near_cache_gain", near_cache_gain, at_least=1.5),
    Row("stream_rate_vs_unary", stream_rate, at_least=1.5),
    Row("two_process_cpu_ratio", two_process_cpu, at_most=1.1),
    Row("read_1x60_p50_vs_floor", partial(read_p50, entities=1)),
    Row("read_10x60_p50_vs_floor", partial(read_p50, entities=10)),
    Row("read_100x60_p50_vs_floor", partial(read_p50, entities=100), at_most=1.6),
    Row("read_500x60_p50_vs_floor", partial(read_p50, entities=500)),
    Row("get_100x50_vs_floor", partial(get_vs_floor, entities=100, columns=50), at_most=1.5),
    Row("get_500x250_vs_floor", partial(get_vs_floor, entities=500, columns=250), at_most=1.3),
    Row("stream_rate_vs_floor", stream_rows.rate, at_least=0.6),
    Row("stream_freshness_vs_floor", stream_rows.freshness, at_most=5.0),
    Row("bytes_per_entity", bytes_per_entity, at_most=450),
    Row("refresh_rate_vs_pipeline", refresh_rate, at_least=0.6),
    Row("goodput_2x", partial(goodput, factor=2.0), at_least=0.9),
    Row("goodput_5x", partial(goodput, factor=5.0), at_least=0.9),
    Row("goodput_10x", partial(goodput, factor=10.0), at_least=0.9),
    Row("late_ratio", late_ratio, at_most=0.001),
    Row("admitted_p99_vs_budget", admitted_p99, at_most=1.0),
    Row("critical_served_2x", critical_served, at_least=0.99),
    Row("overload_recovery_s", overload_rows.recovery, at_most=2.0),
    Row("redis_pause_late_ratio", store_pause.late_share, at_most=0.0),
    Row("redis_pause_errors", store_pause.error_count, at_most=0.0),
    Row("redis_pause_recovery_s", store_pause.recovery, at_most=1.0),
    Row("predict_rate_vs_handwritten", peer_rows.rate_vs_handwritten, at_least=2.5, large=True),
    Row("predict_p99_vs_handwritten", peer_rows.p99_vs_handwritten, at_most=1.0, large=True),
    Row("predict_100_rate_vs_handwritten", peer_rows.rate_of_100_vs_handwritten, at_least=5.0, large=True),
    Row("refresh_1m_vs_pipeline", large_refresh.rate, at_least=0.6, large=True),
    Row("refresh_1m_rss_mb", large_refresh.peak_memory, at_most=1_500, large=True),
    Row("read_100x60_rate_vs_feast", rate_vs_feast, at_least=20, large=True),
    Row(
        "predict_1m_vs_1k_p50",
        partial(predict_p50_by_entities, many=1_000_000, few=1_000),
        at_most=1.2,
        large=True,
    ),
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
