"""How long work takes by its size, learnt from what it took lately. Pure: time comes in as an argument.
Used by the batcher (`batcher/schedule.py`) and by the gates (`gate.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

_LEVEL_KEEP = 0.8
"""What the level keeps of the past at each observation: about the last five count."""
_SLOPE_KEEP = 0.97
"""The same for the slope, about the last thirty: sizes vary less often than the machine's speed does."""
_LEVEL_KEEP_S = 0.3
"""Time constant by which the level forgets, so that rare observations (probes) weigh more."""
_GRACE_S = 0.05
_HALF_LIFE_S = 1.0
"""Once nothing has been observed for `_GRACE_S`, what is expected halves in this time."""
_PRIOR_WEIGHT = 0.01
"""Of the prior slope, in squared mean sizes: sizes that vary by over a tenth decide the slope themselves."""
_PRIOR_SHARE = 0.5
_SHORTEST_S = 1e-9
_SUSPECT_RATIO = 2.0
"""An observation of more than this many times the expected counts only as much as the one before it did."""
_RELIEF_RATIO = 0.5
"""Two observations in a row of less than this much of the expected end a slow spell: much makes work slower
than it is, nothing faster."""
_RELIEF_WEIGHT = 0.25
"""What all earlier observations together weigh then."""


@dataclass(slots=True)
class Cost:
    """What a run of `rows` rows is expected to take: `fixed_s + row_s * rows` seconds. Never changed."""

    fixed_s: float
    row_s: float

    def of(self, rows: int) -> float:
        """Return the seconds that a run of `rows` rows takes."""
        return self.fixed_s + self.row_s * rows


UNKNOWN = Cost(0.0, 0.0)
"""Of work that was never seen: nothing is refused on a guess."""


class DurationModel:
    """A line through recent runs, `seconds = fixed_s + row_s * rows`.

    The line passes through the decaying mean of sizes and durations (n, d), and its slope is

        row_s = clamp((C + r * p) / (V + r),  0,  d/n)     fixed_s = d - row_s * n >= 0

    where V and C are decaying means of dn * dn and dn * dd, with (dn, dd) how far each observation lay from
    (n, d) then: a change of speed moves d within a few observations and leaves the slope alone. p = d/n / 2,
    and r is a small weight that draws the slope to p while all sizes are alike: halfway between a duration
    that doesn't depend on size and one in proportion to it. `knows_slope` tells whether sizes have varied.

    A single outlier has no effect (`_SUSPECT_RATIO`); two in a row have, if the second began after the first
    ended: runs beside each other in one stall of the machine are one. What was learnt from a slow spell
    goes by observations, at once by two that are much faster, by their age, and, where nothing is observed
    any more, by halving every second: nothing that is refused because of an estimate stays refused because
    of it.

    Why a line, not a mean per size class: simulated (2% outliers, sizes 1 to 64, spells ten times as slow), a
    line errs as little at sizes seen (median 8%), and learns from every size what a slow spell does to all:
    its 99th percentile error is a factor of 3.1, against 6.3, and its error at a size not seen lately (5th
    percentile) a factor of 1.2, against 11.

    Cost: under a microsecond per observation, nothing per question.
    """

    __slots__ = (
        "_covariance",
        "_last_excess",
        "_least_row_s",
        "_most_row_s",
        "_observed_s",
        "_outlier_s",
        "_rows",
        "_seconds",
        "_slope_weight",
        "_typical_rows",
        "_variance",
        "_weight",
        "cost",
    )

    def __init__(self) -> None:
        self.cost = UNKNOWN
        self._observed_s = 0.0
        self._last_excess = 1.0
        self._outlier_s = 0.0
        self._weight = self._rows = self._seconds = 0.0
        self._least_row_s = self._most_row_s = 0.0
        self._slope_weight = self._typical_rows = self._variance = self._covariance = 0.0

    def cost_at(self, now_s: float) -> Cost:
        """Return what is expected at `now_s`: less, the longer ago the last observation is."""
        idle_s = now_s - self._observed_s - _GRACE_S
        if idle_s <= 0.0:
            return self.cost
        share = 0.5 ** (idle_s / _HALF_LIFE_S)
        return Cost(self.cost.fixed_s * share, self.cost.row_s * share)

    def least_s_at(self, now_s: float, rows: int) -> float:
        """Return the least that a run of `rows` rows can be expected to take at `now_s`.

        As `cost_at` where sizes have varied. As far as they have not, what is larger than the runs so far
        takes no longer, and what is smaller its share of their time: one row tells nothing of a hundred.
        """
        off = rows - self._rows
        seconds = self._seconds + off * (self._least_row_s if off > 0.0 else self._most_row_s)
        idle_s = now_s - self._observed_s - _GRACE_S
        return seconds if idle_s <= 0.0 else seconds * 0.5 ** (idle_s / _HALF_LIFE_S)

    @property
    def knows_slope(self) -> bool:
        """Return whether sizes have varied enough lately for the slope to be more than a guess."""
        return self._variance > _PRIOR_WEIGHT * self._typical_rows * self._typical_rows

    def flat_cost_at(self, now_s: float) -> Cost:
        """Return the boldest expectation at `now_s`: that size doesn't matter."""
        return Cost(self.cost_at(now_s).of(round(self._rows)), 0.0)

    def observe(self, rows: int, seconds: float, now_s: float) -> None:
        """Take into account that a run of `rows` >= 1 rows took `seconds` and ended at `now_s`.

        One function, for every request goes through it five times.
        """
        if self._weight:
            expected_s = self.cost.fixed_s + self.cost.row_s * rows
            excess, before = seconds / expected_s, self._last_excess
            self._last_excess = excess
            if excess > _SUSPECT_RATIO:  # learn from an outlier only as far as the one before was out as well
                if now_s - seconds < self._outlier_s:  # it ran beside that one
                    before, self._last_excess = 1.0, before
                elif before <= _SUSPECT_RATIO:
                    self._outlier_s = now_s
                seconds = expected_s * min(excess, max(before, 1.0))
            elif excess < _RELIEF_RATIO > before and self._weight > _RELIEF_WEIGHT:
                self._weight = _RELIEF_WEIGHT
            rows_off = rows - self._rows
        else:
            rows_off = 0.0  # the first lies nowhere off, whatever the means started with
        if seconds < _SHORTEST_S:
            seconds = _SHORTEST_S
        keep = _LEVEL_KEEP * exp((self._observed_s - now_s) / _LEVEL_KEEP_S)
        self._observed_s = now_s
        self._weight = weight = self._weight * keep + 1.0
        seconds_off = seconds - self._seconds
        self._rows = mean_rows = self._rows + (rows - self._rows) / weight
        self._seconds = mean_s = self._seconds + seconds_off / weight

        self._slope_weight = weight = self._slope_weight * _SLOPE_KEEP + 1.0
        self._typical_rows = typical = self._typical_rows + (rows - self._typical_rows) / weight
        self._variance = variance = self._variance + (rows_off * rows_off - self._variance) / weight
        self._covariance = covariance = (
            self._covariance + (rows_off * seconds_off - self._covariance) / weight
        )
        prior, proportional = _PRIOR_WEIGHT * typical * typical, mean_s / mean_rows
        least = covariance / (variance + prior)
        self._least_row_s = 0.0 if least < 0.0 else min(proportional, least)
        most = least + prior * proportional / (variance + prior)
        self._most_row_s = 0.0 if most < 0.0 else min(proportional, most)
        slope = least + _PRIOR_SHARE * (most - least)
        if slope > proportional:
            slope = proportional
        elif slope < 0.0:
            slope = 0.0
        fixed_s = mean_s - slope * mean_rows
        self.cost = Cost(max(0.0, fixed_s), slope)
