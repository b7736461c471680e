"""How hard an approximate index must look for one search, or that scanning every row is the better way. Pure
arithmetic; the figures behind it were measured on clustered vectors.
"""

from __future__ import annotations

import math

HNSW_ROWS_PER_EFFORT = 100
"""Rows that a scan reads in the time of one unit of efSearch (measured: 30 to 180, 16 and 64 dimensions)."""

TUNED_K = 10
"""Neighbours that efforts are tuned for."""

HNSW_EFFORT_PER_EXCLUDED = 2
"""Units of efSearch added per excluded row. Those may be the very closest ones (what a person has seen is
like what they like) and then fill the queue: with 200 of 100,000 excluded recall@10 is 0.09 without more,
0.86 to 0.90 with one unit each, 0.96 with two."""

HNSW_EFFORT_PER_WANTED = 1.25
"""Units of efSearch added per row wanted beyond the tuned ten. Of searches tuned to a recall@10 of 0.95 or
somewhat above, recall@100 is 0.72 to 0.96 without more, 0.98 and above with one unit each; recall@500 is 0.94
with one unit each, 0.96 with one and a quarter, 0.99 with two, which take half as long again (60,000 vectors
in clusters of 100, 64 dimensions; Gaussian ones, smaller clusters and low rank do better)."""


def hnsw_effort(tuned: int, k: int, excluded: int, count: int) -> int | None:
    """Return the efSearch for this search; None where a scan costs less."""
    wanted = math.ceil(HNSW_EFFORT_PER_WANTED * max(k - TUNED_K, 0))
    effort = tuned + wanted + HNSW_EFFORT_PER_EXCLUDED * excluded
    return effort if effort * HNSW_ROWS_PER_EFFORT < count else None


def ivf_effort(tuned: int, k: int, excluded: int, count: int, lists: int) -> int | None:
    """Return the nprobe for this search; None where so many lists are read that a scan costs little more.

    Enough lists are added to hold four times the rows that are excluded, or wanted beyond the tuned ten.
    """
    probes = tuned + math.ceil(4 * (max(k - TUNED_K, 0) + excluded) * lists / count)
    return probes if 2 * probes < lists else None
