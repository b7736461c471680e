"""How many calls a second each caller may make: one token bucket per caller, as one number. Pure: time comes
in as an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Quota:
    """Calls per second in the long run, and how many may come at once. A rate of infinity bounds nothing."""

    rate_per_s: float
    burst: int


UNLIMITED = Quota(inf, 1)


@dataclass(slots=True)
class QuotaStats:
    """Counts since the start; calls of callers without a bound are in none."""

    allowed: int = 0
    refused: int = 0
    forgotten: int = 0
    """Callers dropped to make room for others."""


class Quotas:
    """The quota of every caller, by name; one that has none of its own has `general`. Calls without a name
    are one caller's.

    A bucket is kept as the instant at which it will be full again, which each call moves on by 1/rate and
    which may lie at most burst/rate ahead: no timer fills anything. The buckets of the `remembered` callers
    heard of last are kept; one that is forgotten starts with a full bucket. Names are the callers' own word
    until they are authenticated, so this keeps a mistaken caller from the others, not a hostile one.

    Cost: under a microsecond; memory for `remembered` names.
    Source: the generic cell rate algorithm (ITU-T I.371, annex A), virtual scheduling.
    """

    __slots__ = ("_by_name", "_full_at_s", "_general", "_remembered", "stats")

    def __init__(self, general: Quota, by_name: Mapping[str, Quota], remembered: int) -> None:
        self.stats = QuotaStats()
        self._general = general
        self._by_name = dict(by_name)
        self._remembered = remembered
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    @property
    def bounds(self) -> bool:
        """Whether anybody has a bound."""
        return self._general.rate_per_s < inf or bool(self._by_name)

    def of(self, caller: str) -> Quota:
        """Return a caller's quota."""
        return self._by_name.get(caller, self._general)

    def take(self, caller: str, now_s: float) -> float:
        """Take one call out of a caller's bucket and return 0; where it is empty, return the seconds until it
        isn't."""
        quota = self._by_name.get(caller, self._general)
        if quota.rate_per_s == inf:
            return 0.0
        buckets = self._full_at_s
        full_at_s = max(buckets.get(caller, now_s), now_s)
        call_s = 1.0 / quota.rate_per_s
        # In this order a full bucket is exactly 0 away from being full, however late it is on the clock.
        wait_s = (full_at_s - now_s) - (quota.burst - 1) * call_s
        if wait_s > 0.0:
            self.stats.refused += 1
            return wait_s
        self.stats.allowed += 1
        buckets[caller] = full_at_s + call_s
        buckets.move_to_end(caller)
        if len(buckets) > self._remembered:
            buckets.popitem(last=False)
            self.stats.forgotten += 1
        return 0.0
