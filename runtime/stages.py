"""Where a request's time went: a tuple per step, kept on every request; spans are made from it later."""

from __future__ import annotations

from typing import NamedTuple


class StageTiming(NamedTuple):
    """One step of a request, or of the batch that it was in.

    Units: seconds; `start_s` of the monotonic clock. `given_s` is the time the step was allowed to take.
    """

    stage: str
    start_s: float
    duration_s: float
    given_s: float

    def since_us(self, began_s: float) -> tuple[int, int, int]:
        """Return start since `began_s`, duration and given time. Units: microseconds."""
        _, start_s, duration_s, given_s = self
        return int((start_s - began_s) * 1e6), int(duration_s * 1e6), int(given_s * 1e6)
