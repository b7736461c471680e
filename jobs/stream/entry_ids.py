"""Ids of Redis Stream entries (`milliseconds-sequence`, 64 bits each) as positions of 63 bits, and back.

A position is the milliseconds, 43 bits (until the year 2248), and the sequence, 20 bits: ids that a server
makes always fit; ids that a producer chose and that don't are refused, since a position can't say them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forebay.errors import NotUsable
from numpy.typing import NDArray

_SEQUENCE_BITS = 20
_MS_BITS = 43
MAX_SEQUENCE = (1 << _SEQUENCE_BITS) - 1


def position_of(entry_id: bytes) -> int:
    """Return the position of an id. Raises: NotUsable where it doesn't fit."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return _packed(int(milliseconds), int(sequence), entry_id)


def positions_of(entry_ids: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the positions of ids, (n,) int64. Raises: NotUsable naming the first that doesn't fit."""
    try:
        halves = np.array(list(map(int, b"-".join(entry_ids).split(b"-"))), np.int64).reshape(-1, 2)
    except OverflowError:
        halves = np.full((1, 2), -1)
    milliseconds, sequences = halves[:, 0], halves[:, 1]
    if (halves < 0).any() or (milliseconds >> _MS_BITS).any() or (sequences > MAX_SEQUENCE).any():
        return np.array([position_of(entry_id) for entry_id in entry_ids], np.int64)
    return (milliseconds << _SEQUENCE_BITS) | sequences


def entry_id(position: int) -> bytes:
    """Return the id at a position, which is at least 0."""
    return b"%d-%d" % (position >> _SEQUENCE_BITS, position & MAX_SEQUENCE)


def milliseconds_of(position: int) -> int:
    """Return the milliseconds of the id at a position: when a server that chose the id took the entry in."""
    return position >> _SEQUENCE_BITS


def position_at(milliseconds: int) -> int:
    """Return the position before every entry of a millisecond and later."""
    return (max(0, milliseconds) << _SEQUENCE_BITS) - 1


def _packed(milliseconds: int, sequence: int, entry_id: bytes) -> int:
    if milliseconds >> _MS_BITS or sequence > MAX_SEQUENCE:
        text = entry_id.decode(errors="replace")
        raise NotUsable(
            f"entry id {text} can't be a position: its milliseconds must be below 2^43, "
            "the sequence below 2^20, as in ids that the server makes (XADD key *)"
        )
    return (milliseconds << _SEQUENCE_BITS) | sequence
