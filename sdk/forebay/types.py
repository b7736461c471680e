"""The small values that answers are made of. Tables and answers are in `results.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """What a feature's value is."""

    PRESENT = 1
    NULL = 2
    NOT_FOUND = 3
    STALE = 4
    DEFAULTED = 5
    ERROR = 6


class Outcome(IntEnum):
    """What became of a written row. OLDER: a row of newer event time stands."""

    APPLIED = 1
    OLDER = 2
    INVALID = 3


@dataclass(frozen=True, slots=True)
class Degradation:
    """Something that an answer had to leave out or replace: where, what, why, by what, in how many rows."""

    stage: str
    subject: str
    reason: str
    action: str
    count: int


@dataclass(frozen=True, slots=True)
class StageTiming:
    """One step's place in the request's time. Units: microseconds since the request was admitted."""

    stage: str
    start_us: int
    duration_us: int
    given_us: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made an answer.

    `cache` is MISS, HIT, STALE, JOINED, PRECOMPUTED or OFF; empty where the server doesn't say.
    `oldest_as_of_us` is the oldest as-of time among the rows used, microseconds UTC; 0 where none was.
    """

    prediction_id: str
    release: int
    model: str
    model_version: str
    index: str
    index_version: str
    cache: str
    cache_age_us: int
    oldest_as_of_us: int
    stages: tuple[StageTiming, ...]
    trace_id: str
