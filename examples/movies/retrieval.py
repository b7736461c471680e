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
    and scores (n, count) float32, best first. Raises: ValueError where fewer than `count` are left.
    """
    scores = queries @ vectors.T  # (n, m) float32
    for row, positions in zip(scores, exclude, strict=True):
        row[positions] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]  # (n, count) int64
    best_scores = np.take_along_axis(scores, best, axis=1)
    if best.shape[1] < count or np.isneginf(best_scores).any():
        raise ValueError(f"fewer than {count} vectors are left without the excluded ones")
    return best, best_scores
