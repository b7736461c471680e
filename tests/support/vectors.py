"""Vectors for tests: clustered as embeddings are, since no approximate index copes with pure noise."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def clustered(count: int, dimension: int, *, clusters: int = 50, seed: int = 0) -> NDArray[np.float32]:
    """Return (count, dimension) float32 around `clusters` centres; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dimension))
    rows = centres[rng.integers(0, clusters, count)] + 0.3 * rng.standard_normal((count, dimension))
    result = rows.astype(np.float32)
    result.flags.writeable = False
    return result
