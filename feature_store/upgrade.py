"""Rows of an older schema into the records of the present one, by feature name: a feature that was added
reads null (then its default), one that was dropped is ignored, one whose type was widened is converted. A
change of type that can lose values isn't a widening: the feature reads null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from feature_store.layout import EVENT_US, NULLS, WRITE_US, RowLayout, Slot
from feature_store.tails import lists_of, tail_parts
from registry.dtypes import widens


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements from `start` of the old `field`, as many as `target` has, become those of the new one.

    `null_bit` is the old bit that becomes NaN; -1 where nulls stay what they are.
    """

    field: str
    start: int
    target_field: str
    target: slice
    null_bit: int

    @property
    def source(self) -> slice:
        return slice(self.start, self.start + self.target.stop - self.target.start)

    def joined(self, other: _Run) -> _Run | None:
        """Return both as one, where `other` goes on where this ends."""
        same_fields = (self.field, self.target_field) == (other.field, other.target_field)
        adjacent = (self.source.stop, self.target.stop) == (other.start, other.target.start)
        if not (same_fields and adjacent and self.null_bit == other.null_bit == -1):
            return None
        return _Run(
            self.field, self.start, self.target_field, slice(self.target.start, other.target.stop), -1
        )


class Upgrade:
    """Reads rows of `old` as records of `new`. With `old` and `new` the same it reads them as they are."""

    def __init__(self, old: RowLayout, new: RowLayout) -> None:
        self.old = old
        self._new = new
        pairs = ((old.slots.get(name), slot) for name, slot in new.slots.items())
        self._pairs = [
            (was, now) for was, now in pairs if was and widens(was.feature.dtype, now.feature.dtype)
        ]
        self._runs = _runs(self._pairs)
        bits = [(was.null_bit, now.null_bit) for was, now in self._pairs if now.null_bit >= 0]
        self._old_bits = np.array([bit for bit, _ in bits], np.intp)
        self._new_bits = np.array([bit for _, bit in bits], np.intp)

    def fill(self, source: NDArray[np.void], target: NDArray[np.void]) -> None:
        """Write what `source`, records of `old`, says into `target`, as many all-null records of `new`.

        Cost: one copy per run of features that are neighbours in both.
        """
        if self.old is self._new:
            target[:] = source
            return
        target[EVENT_US], target[WRITE_US] = source[EVENT_US], source[WRITE_US]
        old_bits = self.old.null_bits(source)
        for run in self._runs:
            values = source[run.field][:, run.source]
            if run.null_bit >= 0:
                values = np.where(old_bits[:, run.null_bit, None] != 0, np.nan, values)
            target[run.target_field][:, run.target] = values
        if self._new.null_bit_count:
            new_bits = self._new.null_bits(target)
            new_bits[:, self._new_bits] = old_bits[:, self._old_bits]
            target[NULLS] = np.packbits(new_bits, axis=1, bitorder="little")

    def tails(self, source: NDArray[np.void], rows: Sequence[bytes]) -> dict[str, list[bytes]]:
        """Return the parts of each variable feature that both schemas have."""
        return {
            now.feature.name: _widened(was, now, tail_parts(self.old, was, source, rows))
            for was, now in self._pairs
            if now.tail >= 0
        }


def _runs(pairs: Sequence[tuple[Slot, Slot]]) -> list[_Run]:
    runs: list[_Run] = []
    for was, now in pairs:
        if not now.field:
            continue
        null_bit = was.null_bit if now.null_bit < 0 else -1
        run = _Run(was.field, was.start, now.field, slice(now.start, now.stop), null_bit)
        longer = runs[-1].joined(run) if runs else None
        if longer is None:
            runs.append(run)
        else:
            runs[-1] = longer
    return runs


def _widened(was: Slot, now: Slot, parts: list[bytes]) -> list[bytes]:
    old, new = was.feature.dtype.scalar, now.feature.dtype.scalar
    if old is new:
        return parts
    lists = lists_of(old, parts)
    data = lists.values.astype(new.numpy).tobytes()
    bounds = (lists.offsets * new.numpy.itemsize).tolist()
    return [data[start:stop] for start, stop in pairwise(bounds)]
