"""Step 2, recall: answers that are known already, or on their way. `entries` holds them, `flights` says who
makes one, `recall` waits and wakes."""

from gateway.recall.recall import GaveUpWaiting, Recall
from gateway.recall.stats import RecallStats

__all__ = ["GaveUpWaiting", "Recall", "RecallStats"]
