"""How hard an approximate index must look for one search, or that scanning every row is the better way. Pure
arithmetic; the figures behind it were measured on clustered vectors.
"""

from __future__ import annotations

import math

HNSW_ROWS_PER_EFFORT = 100
"""Rows that a scan reads in the time of one unit of efSearch (measured: 30 to 180, 16 and 64 dimensions)."""

TUNED_K = 10
"""Neighbours that efforts are tuned for."""

HNSW_EFFORT_PER_ROW = 2
"""Units of efSearch added per excluded row, and per row wanted beyond the tuned ten. The excluded rows may be
the very closest ones (what a person has seen is like what they like) and then fill the queue: with 200 of
100,000 excluded recall@10 is 0.09 without more, 0.86 to 0.90 with one unit each, 0.96 with two."""


def hnsw_effort(tuned: int, k: int, excluded: int, count: int) -> int | None:
    """Return the efSearch for this search; None where a scan costs less."""
    effort = tuned + HNSW_EFFORT_PER_ROW * _beyond_tuned(k, excluded)
    return effort if effort * HNSW_ROWS_PER_EFFORT < count else None


def ivf_effort(tuned: int, k: int, excluded: int, count: int, lists: int) -> int | None:
    """Return the nprobe for this search; None where so many lists are read that a scan costs little more.

    Enough lists are added to hold four times the rows that are excluded, or wanted beyond the tuned ten.
    """
    probes = tuned + math.ceil(4 * _beyond_tuned(k, excluded) * lists / count)
    return probes if 2 * probes < lists else None


def _beyond_tuned(k: int, excluded: int) -> int:
    return max(k - TUNED_K, 0) + excluded
