"""The contract of every vector index. exact_index.py is its executable specification; what a call may pass
is checked in queries.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ann_index.types import Metric, Neighbours


class VectorIndex(Protocol):
    """Vectors at positions 0 to count - 1, searched by closeness. Immutable, safe for concurrent searches."""

    @property
    def dimension(self) -> int:
        """The length of every vector and query."""
        ...

    @property
    def metric(self) -> Metric:
        """How closeness is measured."""
        ...

    @property
    def count(self) -> int:
        """How many vectors there are."""
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, exclude: Sequence[NDArray[np.int64]] | None = None
    ) -> Neighbours:
        """Return the k closest rows of each query, without its excluded ones.

        An answer never has fewer than k rows where k rows are allowed, and doesn't depend on the call's
        other queries. An approximate index may miss rows; what it returns is in order, ties by position.

        Shapes: queries (n, dimension) float32; exclude, one array per query: positions in any order, repeats
        and negatives (unknown) allowed.
        Raises: InvalidRequest naming `vector`, `k` or `exclude`.
        Cost: blocks its thread for the search; the GIL is released meanwhile.
        """
        ...

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows' vectors as the index holds them (for cosine: normalised), (n, dimension) float32.

        Raises: IndexError for a position that isn't there.
        """
        ...
