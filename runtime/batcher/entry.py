"""What waits for its turn: one submission, as the policy sees it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum


class Criticality(IntEnum):
    """Who goes first, and who is given up first. Names as in the metadata `forebay-criticality`."""

    CRITICAL = 0
    DEFAULT = 1
    SHEDDABLE = 2


@dataclass(slots=True, eq=False)
class Entry:
    """One submission. Only entries of equal `key` share a batch; `rows` is its weight, at least 1.

    Units: seconds of the monotonic clock. `due_s` orders the waiting: the deadline, or, where that lies far
    off, the time by which it takes precedence all the same, so that it can't be overtaken for ever.
    `waiting` is the schedule's own note of who is in its queue.
    """

    key: Hashable
    criticality: Criticality
    rows: int
    submitted_s: float
    deadline_s: float
    due_s: float
    waiting: bool

    def gone(self) -> bool:
        """Return whether it no longer belongs in the queue: nobody waits for its result, or it has left."""
        return not self.waiting
