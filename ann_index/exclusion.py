"""The rows that a search may return, as the bitmap that FAISS consults per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ann_index.faiss_library import faiss


@dataclass(frozen=True, slots=True)
class AllowedRows:
    """All rows of an index but some.

    Shapes: bits (ceil(count / 8),) uint8, bit i % 8 of byte i // 8 set where row i is allowed.
    """

    bits: NDArray[np.uint8]
    count: int
    excluded: int

    @property
    def allowed(self) -> int:
        """How many rows may be returned."""
        return self.count - self.excluded

    def selector(self) -> Any:
        """Return a new FAISS selector over the bits; it keeps them alive. Never shared between calls."""
        return faiss.IDSelectorBitmap(self.bits)


def all_but(positions: NDArray[np.int64], count: int) -> AllowedRows:
    """Return all rows of an index of `count` but those at `positions` (in range, repeats allowed).

    Cost: one fill of count / 8 bytes, then per position; a set of them (IDSelectorBatch) costs three times
    as much to search with at 2,000 of 9,000.
    """
    bits = np.full(-(-count // 8), 0xFF, np.uint8)
    masks = np.left_shift(1, positions & 7, dtype=np.int64).astype(np.uint8)
    np.bitwise_and.at(bits, positions >> 3, ~masks)
    excluded = 8 * len(bits) - int(np.bitwise_count(bits).sum(dtype=np.int64))
    return AllowedRows(bits, count, excluded)
