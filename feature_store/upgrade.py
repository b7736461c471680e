"""Rows of an older schema into the records of the present one, by feature name: a feature that was added
reads null (then its default), one that was dropped is ignored, one whose type was widened is converted. A
change of type that can lose values isn't a widening: the feature reads null.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from feature_store.layout import EVENT_US, NULLS, WRITE_US, RowLayout, Slot
from feature_store.tails import lists_of, tail_parts
from registry.dtypes import DType, Scalar

_UNORDERED = (Scalar.BOOL, Scalar.STRING, Scalar.TIMESTAMP)


class Upgrade:
    """Reads rows of `old` as records of `new`. With `old` and `new` the same it reads them as they are."""

    def __init__(self, old: RowLayout, new: RowLayout) -> None:
        self.old = old
        self._new = new
        pairs = ((old.slots.get(name), slot) for name, slot in new.slots.items())
        self._pairs = [
            (was, now) for was, now in pairs if was and _widens(was.feature.dtype, now.feature.dtype)
        ]

    def fill(self, source: NDArray[np.void], target: NDArray[np.void]) -> None:
        """Write what `source`, records of `old`, says into `target`, as many all-null records of `new`."""
        if self.old is self._new:
            target[:] = source
            return
        target[EVENT_US], target[WRITE_US] = source[EVENT_US], source[WRITE_US]
        old_bits, new_bits = self.old.null_bits(source), self._new.null_bits(target)
        for was, now in self._pairs:
            if now.field:
                _copy_fixed(was, now, source, target, old_bits)
            if now.null_bit >= 0:
                new_bits[:, now.null_bit] = old_bits[:, was.null_bit]
        if self._new.null_bit_count:
            target[NULLS] = np.packbits(new_bits, axis=1, bitorder="little")

    def tails(self, source: NDArray[np.void], rows: Sequence[bytes]) -> dict[str, list[bytes]]:
        """Return the parts of each variable feature that both schemas have."""
        return {
            now.feature.name: _widened(was, now, tail_parts(self.old, was, source, rows))
            for was, now in self._pairs
            if now.tail >= 0
        }


def _copy_fixed(
    was: Slot,
    now: Slot,
    source: NDArray[np.void],
    target: NDArray[np.void],
    old_bits: NDArray[np.uint8],
) -> None:
    values = source[was.field][:, was.start : was.stop]
    if was.null_bit >= 0 and now.null_bit < 0:
        values = np.where(old_bits[:, was.null_bit, None] != 0, np.nan, values)
    target[now.field][:, now.start : now.stop] = values


def _widened(was: Slot, now: Slot, parts: list[bytes]) -> list[bytes]:
    old, new = was.feature.dtype.scalar, now.feature.dtype.scalar
    if old is new:
        return parts
    lists = lists_of(old, parts)
    data = lists.values.astype(new.numpy).tobytes()
    bounds = (lists.offsets * new.numpy.itemsize).tolist()
    return [data[start:stop] for start, stop in pairwise(bounds)]


def _widens(old: DType, new: DType) -> bool:
    """Return whether every value of `old` is one of `new`."""
    if old == new:
        return True
    if (old.is_list, old.length) != (new.is_list, new.length):
        return False
    if old.scalar in _UNORDERED or new.scalar in _UNORDERED:
        return old.scalar is new.scalar
    return bool(np.can_cast(old.scalar.numpy, new.scalar.numpy, "safe"))
