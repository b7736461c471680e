"""An answer as it went out, kept to be given again: by the prediction cache, as a precomputed prediction, as
the result of one submitted earlier. Values only; `answer_wire.py` makes their bytes and gives them out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CacheOutcome(Enum):
    """How the prediction cache took part in an answer. Names and numbers as in `forebay.v1.CacheOutcome`."""

    MISS = 1
    HIT = 2
    STALE = 3
    JOINED = 4
    PRECOMPUTED = 5
    OFF = 6

    __hash__ = object.__hash__  # in C; Enum's own is not, and every answer looks one up


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer without what belonged to the request that it was made for.

    `body` is a serialised PredictResponse: entities, scores, features, degradations, and that part of the
    provenance that says what made it. `stale_at_us` is the last instant at which the statuses of its rows
    still hold; NEVER_US where no row can grow stale. `degraded` says whether the body holds a degradation.
    Units: microseconds, UTC.
    """

    body: bytes
    release: int
    made_us: int
    stale_at_us: int
    degraded: bool
