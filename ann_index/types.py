"""The values of the index: how closeness is measured, and what a search found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Metric(Enum):
    """What makes two vectors close. The value is its name in the application file."""

    INNER_PRODUCT = "inner_product"
    """Score: the inner product."""

    COSINE = "cosine"
    """Score: the cosine of the angle. A zero vector has no direction and is refused."""

    L2 = "l2"
    """Score: the Euclidean distance (not its square), negated."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a search found: row i answers query i, the closest first, ties by position.

    Shapes: both (n_queries, k). Where fewer than k rows may be returned, the rest is -1 and -inf.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    """Higher is closer, for every metric."""
