"""Exhaustive inner-product retrieval in numpy: what the index answers, for training and offline ranking."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    count: int,
    exclude: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each query's `count` best vectors by inner product without its `exclude`; ties by position.

    Shapes: queries (n, d), vectors (m, d), exclude n arrays of positions; answer positions (n, count) int64
    with -1 where fewer are left, and scores (n, count) float32.
    """
    scores = queries @ vectors.T  # (n, m) float32
    for row, positions in zip(scores, exclude, strict=True):
        row[positions] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]  # (n, count) int64
    best_scores = np.take_along_axis(scores, best, axis=1)
    return np.where(np.isneginf(best_scores), -1, best), best_scores
