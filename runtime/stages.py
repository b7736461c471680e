"""Where a request's time went: a plain struct per step, kept on every request; spans are made from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StageTiming:
    """One step's place in its request's time. Units: microseconds, `start_us` since the request began.

    `given_us` is the time the step was allowed to take; 0 where it had no limit.
    """

    stage: str
    start_us: int
    duration_us: int = 0
    given_us: int = 0
