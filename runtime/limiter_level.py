"""What a limiter knows of one criticality: how many are under way, how they fared, and its limit. Pure."""

from __future__ import annotations

from math import inf

_CUT_RATIO = 0.85
_SLOW_RATIO = 1.5
"""Of what is aimed at: where requests spend more than that on the average, there are too many."""
_MISS_RATIO = 0.05
_WAITED_RATIO = 0.1
"""Of the time that requests spent: with less of it in a queue, what makes them slow or late isn't how many
they are."""
_HIGHEST_PEAK_RATIO = 2.0
_GIVEN_KEEP = 0.95
_UNKNOWN_GIVEN_S = 1.0
_SHORTEST_GIVEN_S = 1e-6
_GROWTH_RATIO = 1.5


class Level:
    """One criticality within a limiter. `limit` bounds its own and the more critical; at least 1.

    Units: seconds of the monotonic clock. `aim_s` is what requests should spend on the average.
    """

    __slots__ = (
        "_ceiling",
        "_changed_s",
        "_counted_s",
        "_ended",
        "_missed",
        "_most",
        "_per_given_s",
        "_probe_at_s",
        "_step",
        "_waited_s",
        "aim_s",
        "in_flight",
        "limit",
        "spent_s",
    )

    def __init__(self, ceiling: int) -> None:
        self.limit = self._ceiling = float(ceiling)
        self.in_flight = 0
        self.aim_s = 0.0
        self._per_given_s = 0.0
        self._probe_at_s = inf
        self._changed_s = -inf
        self._step = 1.0
        self._most = 0
        self._ended = self._missed = 0
        self._counted_s = self._waited_s = self.spent_s = 0.0

    @property
    def given_s(self) -> float:
        """What requests are given: the harmonic mean, in which the hurried weigh most."""
        return 1.0 / self._per_given_s if self._per_given_s else _UNKNOWN_GIVEN_S

    def probe_is_due(self, now_s: float, probe_s: float) -> bool:
        """Return whether one that is over the limit is to be admitted: none has been for `probe_s`."""
        if self._probe_at_s == inf:
            self._probe_at_s = now_s + probe_s
        return now_s >= self._probe_at_s

    def enter(self, count: int) -> None:
        """Take in one, with which `count` of it and the more critical are under way."""
        self.in_flight += 1
        self._probe_at_s = inf
        if count > self._most:
            self._most = count

    def ended(
        self, admitted_s: float, given_s: float, spent_s: float, waited_s: float, *, missed: bool
    ) -> None:
        """Take note of how one fared; where it was admitted before the last cut, only of its times."""
        self.spent_s += spent_s
        if not missed or not self._per_given_s:
            per_given_s = 1.0 / max(given_s, _SHORTEST_GIVEN_S)
            before = self._per_given_s or per_given_s
            self._per_given_s = before + (1.0 - _GIVEN_KEEP) * (per_given_s - before)
        if admitted_s < self._changed_s:
            return
        self._ended += 1
        self._counted_s += spent_s
        self._waited_s += waited_s
        self._missed += missed

    def peak_ratio(self, mean: float) -> float:
        """Return how far the number under way rose above its mean, 1 to 2: 2 where one batch runs and as many
        wait."""
        return max(1.0, min(self._most / mean, _HIGHEST_PEAK_RATIO)) if mean > 0.0 else 1.0

    def adapt(self, now_s: float, cap: float, least: float = 1.0) -> bool:
        """Set the limit, at `least` 1, by how this window's requests fared; return whether it was cut."""
        waited = self._waited_s >= _WAITED_RATIO * self._counted_s > 0.0
        cut = waited and self._is_congested()
        if cut:
            self.limit = max(least, min(self.limit, self._most) * _CUT_RATIO)
            self._step, self._changed_s = 1.0, now_s
        elif self._only_old_ended() or (waited and self._counted_s > self.aim_s * self._ended):
            self.limit = max(least, min(self.limit, cap))
            self._step = 1.0
        else:
            self.limit = min(
                self.limit + self._step, max(cap, _GROWTH_RATIO * self._most + 1.0), self._ceiling
            )
            self._step = min(2.0 * self._step, 1.0 + self.limit / 2.0)
        self._ended = self._missed = 0
        self._counted_s = self._waited_s = self.spent_s = 0.0
        self._most = self.in_flight
        return cut

    def _only_old_ended(self) -> bool:
        """Return whether all that ended was admitted before the last cut: it says nothing of its effect."""
        return not self._ended and self.spent_s > 0.0

    def _is_congested(self) -> bool:
        return (
            self._missed > _MISS_RATIO * self._ended
            or self._counted_s > _SLOW_RATIO * self.aim_s * self._ended
        )
