"""The bounds of a batcher."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may grow, and how long the queue.

    members, rows: the most of each in one batch; a single submission of more rows runs alone.
    run_s: the longest a batch is expected to take, or twice its fixed part where that is longer; a single
        submission may take longer. What is more urgent waits at most this long for a batch that has begun.
    waiting: the most submissions that wait; past it the least critical gives way, else the newcomer.
    wait_s: the longest expected wait at which a submission is still taken in.
    patience_s: a submission takes precedence as if its deadline lay at most this far off.
    caution_ratio: what durations are multiplied by before a deadline is held against them.
    probe_s: how long an estimate may hold anything back untested. When nothing has run for so long, because
        nobody could be in time, the next batch runs all the same.
    beside_stalled: the most batches that run beside those that take far longer than expected.
    """

    members: int = 64
    rows: int = 8192
    run_s: float = 0.01
    waiting: int = 1024
    wait_s: float = 0.25
    patience_s: float = 1.0
    caution_ratio: float = 1.2
    probe_s: float = 0.1
    beside_stalled: int = 8
