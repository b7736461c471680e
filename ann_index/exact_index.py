"""The reference index: every row scored with numpy, ties in order. It says what the others approximate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ann_index.queries import checked_exclusions, checked_queries, normalised
from ann_index.types import Metric, Neighbours


class ExactIndex:
    """Scores every row. Cost: (count, dimension) per query, and a full sort."""

    def __init__(self, vectors: NDArray[np.float32], metric: Metric) -> None:
        self._vectors = normalised(vectors)[0] if metric is Metric.COSINE else vectors
        self._metric = metric

    @property
    def dimension(self) -> int:
        return int(self._vectors.shape[1])

    @property
    def metric(self) -> Metric:
        return self._metric

    @property
    def count(self) -> int:
        return int(self._vectors.shape[0])

    def search(
        self, queries: NDArray[np.float32], k: int, exclude: Sequence[NDArray[np.int64]] | None = None
    ) -> Neighbours:
        targets = checked_queries(queries, self.dimension, self._metric, k)
        none = [np.empty(0, np.int64)] * len(targets)
        barred = none if exclude is None else checked_exclusions(exclude, len(targets), self.count)
        found = empty_neighbours(len(targets), k)
        for row, (query, without) in enumerate(zip(targets, barred, strict=True)):
            scores = scores_of(self._vectors, query, self._metric)
            allowed = np.setdiff1d(np.arange(self.count), without)
            best = allowed[np.lexsort((allowed, -scores[allowed]))][:k]
            found.positions[row, : len(best)] = best
            found.scores[row, : len(best)] = scores[best]
        return found

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(positions) and positions.min() < 0:
            raise IndexError("a position is negative")
        return self._vectors[positions].astype(np.float32)


def empty_neighbours(query_count: int, k: int) -> Neighbours:
    """Return an answer that found nothing, to be filled."""
    positions = np.full((query_count, k), -1, np.int64)
    return Neighbours(positions, np.full((query_count, k), -np.inf, np.float32))


def scores_of(
    vectors: NDArray[np.float32], query: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Return the score of each row, (n,) float32; equal rows have equal scores, wherever they stand.

    For cosine both sides are normalised already. einsum, since BLAS rounds a row by its place in a block.
    """
    scores: NDArray[np.float32]
    if metric is Metric.L2:
        difference = vectors - query  # (n, d) float32
        scores = -np.sqrt(np.einsum("nd,nd->n", difference, difference))
    else:
        scores = np.einsum("nd,d->n", vectors, query)
    return scores


def paired_scores(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Return the score of row i of `vectors` for row i of `queries`, (n,) float32; NaN for a vector without a
    direction, where the metric is cosine.

    Shapes: both (n, d).
    """
    scores: NDArray[np.float32]
    if metric is Metric.L2:
        difference = vectors - queries  # (n, d) float32
        return np.asarray(-np.sqrt(np.einsum("nd,nd->n", difference, difference)), np.float32)
    scores = np.einsum("nd,nd->n", vectors, queries)
    if metric is Metric.COSINE:
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(queries, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.asarray(scores / lengths, np.float32)
    return scores
