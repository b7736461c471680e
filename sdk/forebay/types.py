"""The small values that answers are made of. Tables and answers are in `results.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """What a read says of one value, as the byte that goes over the wire."""

    PRESENT = 1
    NULL = 2
    """The row is there, the value isn't."""
    NOT_FOUND = 3
    """There is no row."""
    STALE = 4
    """The value is there and older than the view's max_age."""
    DEFAULTED = 5
    """Null or not found, and replaced by the declared default."""
    ERROR = 6
    """The stored bytes can't be trusted; there is no value, nor its default."""


class Outcome(IntEnum):
    """What became of one row of a write, as the byte that goes over the wire."""

    APPLIED = 1
    OLDER = 2
    """A newer row was there already; it stays."""
    INVALID = 3
    """The row can't be stored; nothing changed."""


@dataclass(frozen=True, slots=True)
class WriteProblem:
    """What makes rows of a write INVALID: which part of the request ("features.age"), in how many rows, and
    the rule that its values break there."""

    field: str
    row_count: int
    rule: str


class Outcomes(list[Outcome]):
    """An Outcome per row of a write; and `problems`, which say why rows are INVALID."""

    problems: tuple[WriteProblem, ...] = ()


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
