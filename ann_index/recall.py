"""How much of the truth an index finds. A found row counts when it is as close as the k-th true one,
whichever of equally close rows it is (ann-benchmarks' definition; its absolute slack of 1e-3 is relative
here, since embeddings have any scale).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ann_index.faiss_library import faiss, faiss_metric, threads
from ann_index.index import VectorIndex
from ann_index.types import Metric

SLACK = 1e-5
"""Relative distance within which two scores are the same, so that rounding costs no recall."""

CONFIDENCE_Z = 1.645
"""Standard deviations of a one-sided 95% bound."""


@dataclass(frozen=True, slots=True)
class Recall:
    """The mean share of true neighbours found, and what it is at least, with 95% confidence."""

    value: float
    bound: float
    queries: int
    k: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What an exact search would find.

    Shapes: queries (n, d) float32, for cosine normalised; last (n,) float32, each k-th neighbour's score.
    """

    vectors: NDArray[np.float32]
    metric: Metric
    queries: NDArray[np.float32]
    last: NDArray[np.float32]
    k: int


def truth_of(
    vectors: NDArray[np.float32], metric: Metric, queries: NDArray[np.float32], k: int, thread_count: int
) -> Truth:
    """Return the truth about `queries`. Cost: one scan of all vectors per query, in blocks, through BLAS."""
    k = min(k, len(vectors))
    with threads(thread_count):
        _, positions = faiss.knn(queries, vectors, k, metric=faiss_metric(metric))
    last = _scores(vectors, metric, queries, positions).min(axis=1)  # (n,) float32
    return Truth(vectors, metric, queries, last, k)


def measure_recall(index: VectorIndex, truth: Truth) -> Recall:
    """Return the recall of an index over the same vectors. Cost: one search per query."""
    return recall_of(index.search(truth.queries, truth.k).positions, truth)


def recall_of(found: NDArray[np.int64], truth: Truth) -> Recall:
    """Return the recall of an answer to the truth's queries. Shapes: found (n, k), -1 where nothing was."""
    scores = _scores(truth.vectors, truth.metric, truth.queries, found)
    needed = truth.last - SLACK * np.abs(truth.last)
    hits = (scores >= needed[:, None]) & (found >= 0)
    value = float(hits.mean())
    return Recall(value, lower_bound(value, len(hits)), len(hits), truth.k)


def lower_bound(mean: float, samples: int) -> float:
    """Return what the mean of values in [0, 1] is at least, with 95% confidence.

    Source: E. B. Wilson's score interval (1927), one-sided; for shares it is on the safe side, since their
    variance is at most that of a coin with the same mean.
    """
    z2 = CONFIDENCE_Z**2
    centre = mean + z2 / (2 * samples)
    spread = CONFIDENCE_Z * float(np.sqrt(mean * (1 - mean) / samples + z2 / (4 * samples**2)))
    return max(0.0, (centre - spread) / (1 + z2 / samples))


def _scores(
    vectors: NDArray[np.float32],
    metric: Metric,
    queries: NDArray[np.float32],
    positions: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the score of each found row, all by one arithmetic, (n, k) float32."""
    rows = vectors[positions]  # (n, k, d) float32
    scores: NDArray[np.float32]
    if metric is Metric.L2:
        difference = rows - queries[:, None]
        scores = -np.sqrt(np.einsum("nkd,nkd->nk", difference, difference))
    else:
        scores = np.einsum("nkd,nd->nk", rows, queries)
    return scores
