"""Rows that aren't all alike: some missing or deleted, of an older schema, or corrupt. They are sorted by
schema, and each schema's rows are read together into records of the present one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.layout import RowLayout
from feature_store.row_header import is_tombstone
from feature_store.tails import tail_parts
from feature_store.template import template_row
from feature_store.upgrade import Upgrade

_HEAD_BYTES = 4


class DecodedRows(NamedTuple):
    """Records of the present schema, (n,); the parts of each variable feature, n each; which rows are
    missing, (n,); the positions of those in error, or None.
    """

    records: NDArray[np.void]
    tails: dict[str, list[bytes]]
    missing: NDArray[np.bool_]
    error_rows: NDArray[np.intp] | None


class MixedRows:
    """Reads rows of the present schema and of older ones."""

    def __init__(self, layout: RowLayout, older: Sequence[RowLayout]) -> None:
        self._layout = layout
        self._upgrades: dict[bytes, Upgrade] = {}
        for source in (*older, layout):
            upgrade = Upgrade(source, layout)
            self._upgrades[source.clean_head] = self._upgrades[source.nulls_head] = upgrade
        null, absent = template_row(layout), template_row(layout, with_defaults=True)
        self._null_record = np.frombuffer(null, layout.record, 1)
        self._absent_record = np.frombuffer(absent, layout.record, 1)
        self._absent_parts = {
            slot.feature.name: tail_parts(layout, slot, self._absent_record, [absent])[0]
            for slot in layout.variable
        }

    def decode(self, rows: Sequence[bytes | None]) -> DecodedRows:
        """Return every row, all null where it is in error, of defaults where it is missing or a tombstone.

        Cost: one step per row, and a few array operations per schema and feature.
        """
        count = len(rows)
        records = np.repeat(self._null_record, count)
        tails = {slot.feature.name: [b""] * count for slot in self._layout.variable}
        missing = np.fromiter((row is None or is_tombstone(row) for row in rows), np.bool_, count)
        records[missing] = self._absent_record
        for name, part in self._absent_parts.items():
            for position in np.flatnonzero(missing).tolist():
                tails[name][position] = part
        sound = missing.copy()
        for upgrade, positions in self._sorted(rows):
            sound[self._read(upgrade, positions, rows, records, tails)] = True
        return DecodedRows(records, tails, missing, None if sound.all() else np.flatnonzero(~sound))

    def _sorted(self, rows: Sequence[bytes | None]) -> list[tuple[Upgrade, list[int]]]:
        """Return the positions of each known schema's rows; those of none are in error."""
        found: dict[int, tuple[Upgrade, list[int]]] = {}
        for position, row in enumerate(rows):
            upgrade = None if row is None else self._upgrades.get(row[:_HEAD_BYTES])
            if upgrade is not None:
                found.setdefault(id(upgrade), (upgrade, []))[1].append(position)
        return list(found.values())

    def _read(
        self,
        upgrade: Upgrade,
        positions: list[int],
        rows: Sequence[bytes | None],
        records: NDArray[np.void],
        tails: dict[str, list[bytes]],
    ) -> NDArray[np.intp]:
        """Write the rows at `positions` into `records` and `tails`; return the positions that are sound."""
        chosen, source, texts = _sound(upgrade.old, positions, rows)
        target = np.repeat(self._null_record, len(chosen))
        upgrade.fill(source, target)
        records[chosen] = target
        for name, parts in upgrade.tails(source, texts).items():
            for position, part in zip(chosen.tolist(), parts, strict=True):
                tails[name][position] = part
        return chosen


def _sound(
    layout: RowLayout, positions: Sequence[int], rows: Sequence[bytes | None]
) -> tuple[NDArray[np.intp], NDArray[np.void], list[bytes]]:
    """Return which of `positions` hold sound rows of `layout`, with their records and bytes."""
    size = layout.fixed_bytes
    texts = [rows[position] or b"" for position in positions]
    lengths = np.array(list(map(len, texts)))  # (n,)
    fits = lengths >= size if layout.variable else lengths == size
    texts, lengths = _kept(texts, fits), lengths[fits]
    chosen = np.array(positions, np.intp)[fits]
    fixed = b"".join([row[:size] for row in texts])
    source = np.frombuffer(fixed, layout.record) if fixed else np.empty(0, layout.record)
    if layout.variable:
        sound = layout.has_sound_tails(source, lengths)
        chosen, source, texts = chosen[sound], source[sound], _kept(texts, sound)
    return chosen, source, texts


def _kept(texts: list[bytes], mask: NDArray[np.bool_]) -> list[bytes]:
    return texts if mask.all() else [row for row, good in zip(texts, mask.tolist(), strict=True) if good]
