"""A plain bound on how many calls are under way, for those that wait in no queue of ours. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.batcher.entry import Criticality
from runtime.retry_times import RetryTimes

_SHARES = (1.0, 0.9, 0.5)
"""Of the bound, by criticality: what it may fill, with everybody under way counted."""
_RETRY_S = 0.02


@dataclass(slots=True)
class ConcurrencyStats:
    """Counts since the start, by criticality."""

    admitted: list[int] = field(default_factory=lambda: [0] * len(Criticality))
    refused: list[int] = field(default_factory=lambda: [0] * len(Criticality))


class ConcurrencyLimit:
    """At most `bound` at a time; the less critical are refused while there is still room for the others."""

    __slots__ = ("_bounds", "_retries", "in_flight", "stats")

    def __init__(self, bound: int) -> None:
        self.stats = ConcurrencyStats()
        self.in_flight = 0
        self._bounds = [max(1, int(bound * share)) for share in _SHARES]
        self._retries = RetryTimes()

    def bound(self, criticality: Criticality) -> int:
        """Return how many may be under way for one of this criticality to be let in as the last."""
        return self._bounds[criticality]

    def enter(self, criticality: Criticality) -> float:
        """Take one in, which must leave, and return 0; or return in how many seconds to come back."""
        if self.in_flight >= self._bounds[criticality]:
            self.stats.refused[criticality] += 1
            return self._retries.after(_RETRY_S)
        self.in_flight += 1
        self.stats.admitted[criticality] += 1
        return 0.0

    def leave(self) -> None:
        """Let one go."""
        self.in_flight -= 1
