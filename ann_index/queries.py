"""What a search may be asked: the checks that every index applies before any library sees the arrays, since
FAISS answers a NaN query with nothing, converts float64 silently and only asserts the dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from ann_index.types import Metric

MAX_K = 10_000
"""Most neighbours that one search returns."""

MAX_COMPONENT = np.float32(1e15)
"""Largest magnitude of a component: squared and summed over 65,536 of them it still fits a float32."""

_MAX_SQUARES = float(MAX_COMPONENT)


def checked_queries(
    queries: NDArray[np.float32], dimension: int, metric: Metric, k: int
) -> NDArray[np.float32]:
    """Return the queries as the metric wants them: contiguous, for cosine normalised.

    Raises: InvalidRequest naming `vector` or `k`.
    """
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise InvalidRequest("queries are a matrix of float32, one row per query", field="vector")
    if queries.shape[1] != dimension:
        raise InvalidRequest(
            f"the vector has {queries.shape[1]} components, the index has {dimension}", field="vector"
        )
    if not 1 <= k <= MAX_K:
        raise InvalidRequest(f"k is at least 1 and at most {MAX_K:,}", field="k")
    if not is_in_range(queries):
        raise InvalidRequest(
            f"vector: every component must be a finite number of magnitude {MAX_COMPONENT:g} at most",
            field="vector",
        )
    if metric is not Metric.COSINE:
        return np.ascontiguousarray(queries)
    units, zeros = normalised(queries)
    if zeros.size:
        raise InvalidRequest("a zero vector has no direction, which cosine needs", field="vector")
    return units


def are_searchable(queries: NDArray[np.float32], metric: Metric) -> NDArray[np.bool_]:
    """Return which queries a search would not refuse for their components, (n,) bool."""
    fine = np.asarray((np.abs(queries) <= MAX_COMPONENT).all(axis=1))
    return fine & queries.any(axis=1) if metric is Metric.COSINE else fine


def checked_exclusions(
    exclude: Sequence[NDArray[np.int64]], query_count: int, count: int
) -> list[NDArray[np.int64]]:
    """Return each query's excluded positions without the negative ones.

    Raises: InvalidRequest naming `exclude`.
    """
    if len(exclude) != query_count:
        raise InvalidRequest("exclude has one array of positions per query", field="exclude")
    return [_known(positions, count) for positions in exclude]


def is_in_range(vectors: NDArray[np.float32]) -> bool:
    """Return whether every component is finite and no larger than MAX_COMPONENT; NaN fails the comparison."""
    # No component is larger than the root of the sum of their squares: one product settles the usual case.
    flat = vectors.reshape(-1)
    squares = float(np.dot(flat, flat))
    return squares <= _MAX_SQUARES or bool((np.abs(vectors) <= MAX_COMPONENT).all())


def normalised(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the vectors scaled to length 1, and the rows that have no direction (left as they are).

    Lengths are taken in float64, so that neither tiny nor huge components lose them.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))  # (n,) float64
    zeros = np.flatnonzero(lengths == 0)
    lengths[zeros] = 1
    return (vectors / lengths[:, None]).astype(np.float32), zeros


def _known(positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if positions.ndim != 1 or positions.dtype != np.int64:
        raise InvalidRequest("excluded positions are an array of int64", field="exclude")
    if not positions.size:
        return positions
    if positions.max() >= count:
        raise InvalidRequest(f"an excluded position is past the index's {count:,} rows", field="exclude")
    return positions[positions >= 0]
