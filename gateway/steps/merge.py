"""Candidates from several places into one list per member: each key once, with its best score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.batch import Candidates
from registry.key_text import integer_texts, string_texts


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates from one place, of several members.

    Shapes: all (n,). keys: int64, or strings as objects; member_of_row: rising; scores: higher is better, NaN
    where there is none.
    """

    keys: NDArray[np.generic]
    member_of_row: NDArray[np.intp]
    scores: NDArray[np.float32]


def merged(parts: Sequence[Found], field: str) -> Candidates:
    """Return the union of the parts, member by member, each key once and in the keys' order.

    A candidate that several parts hold has the highest of its scores. `field` is the key's only field.
    Cost: one sort of all rows; no Python step per row but the making of key texts.
    """
    keys = np.concatenate([part.keys for part in parts])
    member_of_row = np.concatenate([part.member_of_row for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.lexsort((keys, member_of_row))
    keys, member_of_row = keys[order], member_of_row[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (keys[1:] != keys[:-1]) | (member_of_row[1:] != member_of_row[:-1])
    first = np.flatnonzero(is_first)
    keys = keys[first]
    return Candidates(
        texts=key_texts(keys),
        member_of_row=member_of_row[first],
        scores=np.fmax.reduceat(scores[order], first) if len(first) else scores,  # NaN only where all are
        columns={field: keys},
    )


def key_texts(keys: NDArray[np.generic]) -> list[str]:
    """Return the canonical texts of keys of one field: integers, or strings as objects."""
    values = keys.tolist()
    return string_texts(values) if keys.dtype == object else integer_texts(values)
