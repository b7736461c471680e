"""A deadline as a value: an instant of a monotonic clock, passed down unchanged. It reads no clock itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """An instant by which something must have ended. Units: seconds of the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float, now_s: float) -> Deadline:
        """Return the deadline that lies `timeout_s` after `now_s`."""
        return cls(now_s + timeout_s)

    def remaining_s(self, now_s: float) -> float:
        """Return the seconds left at `now_s`; negative once it has passed."""
        return self.at_s - now_s

    def expired(self, now_s: float) -> bool:
        """Return whether the deadline has passed at `now_s`."""
        return now_s >= self.at_s

    def earliest(self, other: Deadline) -> Deadline:
        """Return the earlier of the two."""
        return self if self.at_s <= other.at_s else other


NEVER = Deadline(inf)
