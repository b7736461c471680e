"""How hard an approximate index must be searched to reach a recall: the least efSearch or nprobe of a ladder
whose recall, at its lower bound, reaches the target; tuned on some queries, measured on others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ann_index.faiss_build import SEED, Factory, Progress
from ann_index.faiss_index import FaissIndex
from ann_index.queries import normalised
from ann_index.recall import Recall, Truth, measure_recall, truth_of
from ann_index.search_plan import TUNED_K
from ann_index.types import Metric
from runtime.clock import Clock
from runtime.engine_settings import AnnIndexSettings

HNSW_LADDER = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
QUERY_NOISE = 0.1
"""Noise of a query made from a row, as a share of each component's standard deviation."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of single searches for ten neighbours, one after the other, in this process."""

    p50_us: float
    p99_us: float
    searches: int


@dataclass(frozen=True, slots=True)
class QuerySets:
    """What the search is tuned with, and what it is measured with: two disjoint sets, each (n, d) float32."""

    tuning: NDArray[np.float32]
    measuring: NDArray[np.float32]


def query_sets(
    vectors: NDArray[np.float32], metric: Metric, given: NDArray[np.float32] | None, size: int
) -> QuerySets:
    """Return two sets of `size` queries: the given ones first, then rows with a little noise.

    The same input gives the same sets. Given queries are real ones, as vectors of users where the rows are
    items; noise keeps a made query from being a row itself.
    """
    rng = np.random.default_rng(SEED)
    real = vectors[:0] if given is None else given[rng.permutation(len(given))[: 2 * size]]
    rows = vectors[rng.integers(0, len(vectors), 2 * size - len(real))]
    spread = QUERY_NOISE * _spread(vectors)  # (d,)
    made = rows + rng.standard_normal(rows.shape, np.float32) * spread
    queries = np.concatenate([real, made]).astype(np.float32)
    if metric is Metric.COSINE:
        units, zeros = normalised(queries)
        queries = np.delete(units, zeros, axis=0)
    return QuerySets(np.ascontiguousarray(queries[::2]), np.ascontiguousarray(queries[1::2]))


def tune(
    index: FaissIndex,
    vectors: NDArray[np.float32],
    factory: Factory,
    queries: QuerySets,
    target: float,
    settings: AnnIndexSettings,
    progress: Progress,
) -> tuple[FaissIndex, int, Recall]:
    """Return the index with the least effort that reaches `target`, that effort, and the recall it has.

    Where the measuring queries deny what the tuning ones promised, the next effort is tried. Where none
    suffices, the greatest is returned with its recall. An exact index has effort 0.
    """
    measured = truth_of(vectors, index.metric, queries.measuring, TUNED_K, settings.build_threads)
    if index.is_exact:
        recall = measure_recall(index, measured)
        return index, 0, replace(recall, bound=recall.value)  # it scans every row: nothing was sampled
    tuned = truth_of(vectors, index.metric, queries.tuning, TUNED_K, settings.build_threads)
    ladder = HNSW_LADDER if factory.links else tuple(_probe_ladder(factory.lists))
    for step, effort in enumerate(ladder):
        progress("tune", step, len(ladder))
        candidate = index.with_effort(effort)
        is_last = effort == ladder[-1]
        if not is_last and not _reaches(candidate, tuned, target):
            continue
        recall = measure_recall(candidate, measured)
        if is_last or recall.bound >= target:
            break
    progress("tune", len(ladder), len(ladder))
    return candidate, effort, recall


def measure_latency(
    index: FaissIndex, queries: NDArray[np.float32], searches: int, clock: Clock, progress: Progress
) -> Latency:
    """Return how long single searches take, after a tenth of them to warm up. Cost: that many searches."""
    taken = np.empty(searches)  # seconds, (searches,) float64
    for turn in range(-(searches // 10), searches):
        if turn % 100 == 0:
            progress("measure", max(turn, 0), searches)
        query = queries[turn % len(queries)][None]
        started_s = clock.monotonic_s()
        index.search(query, TUNED_K)
        taken[turn] = clock.monotonic_s() - started_s  # a warm-up's place is measured again later
    progress("measure", searches, searches)
    p50_s, p99_s = np.percentile(taken, [50, 99])
    return Latency(round(p50_s * 1e6, 1), round(p99_s * 1e6, 1), searches)


def _reaches(index: FaissIndex, truth: Truth, target: float) -> bool:
    return measure_recall(index, truth).bound >= target


def _probe_ladder(lists: int) -> Iterator[int]:
    probes = 1
    while probes < lists:
        yield probes
        probes = max(probes + 1, probes * 3 // 2)
    yield lists


def _spread(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each component's standard deviation, from at most 10,000 rows."""
    sample = vectors[:: max(1, len(vectors) // 10_000)]
    spread: NDArray[np.float32] = sample.astype(np.float64).std(axis=0).astype(np.float32)
    return spread
