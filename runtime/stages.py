"""Where a request's time went: a tuple per step, kept on every request; spans are made from it later."""

from __future__ import annotations

StageTiming = tuple[str, float, float, float]
"""A step's name, when it began, how long it took, and how long it was allowed to take.

Units: seconds; the beginning is of the monotonic clock. A plain tuple: eight are made for every request.
"""


def since_us(timing: StageTiming, began_s: float) -> tuple[str, int, int, int]:
    """Return a step's name, beginning since `began_s`, duration and given time. Units: microseconds."""
    stage, start_s, duration_s, given_s = timing
    return stage, int((start_s - began_s) * 1e6), int(duration_s * 1e6), int(given_s * 1e6)
