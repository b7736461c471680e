"""Concurrent submissions run as batches, without anything waiting while nothing runs.

`batcher` is what callers use and the only part that knows asyncio. Below it everything is pure: `schedule`
holds who waits and what runs, `policy` decides what runs next by what `expectation` says it takes, and
`entry` is what they pass along.
"""

from runtime.batcher.batcher import Batcher
from runtime.batcher.entry import Criticality
from runtime.batcher.limits import BatchLimits
from runtime.batcher.stats import BatcherStats

__all__ = ["BatchLimits", "Batcher", "BatcherStats", "Criticality"]
