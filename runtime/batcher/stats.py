"""What a batcher has done so far."""

from __future__ import annotations

from dataclasses import dataclass, field

_SIZE_CLASSES = 16


@dataclass(slots=True)
class BatcherStats:
    """Counts since the start; each submission adds to exactly one of the last seven.

    `sizes[i]` counts batches of 2**(i-1) < members <= 2**i. `waited_s` is the sum over `members` of the time
    between submission and the start of the batch, `run_s` the sum over `batches` of their durations, `stalls`
    the batches that began beside one that took far longer than expected.
    """

    batches: int = 0
    members: int = 0
    rows: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * _SIZE_CLASSES)
    waited_s: float = 0.0
    longest_wait_s: float = 0.0
    run_s: float = 0.0
    stalls: int = 0

    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    displaced: int = 0
    expired_waiting: int = 0
    expired_running: int = 0

    def started(self, members: int, rows: int, waited_s: float, longest_wait_s: float) -> None:
        """Count a batch, and how long its members waited: the sum, and the longest."""
        self.batches += 1
        self.members += members
        self.rows += rows
        self.sizes[min((members - 1).bit_length(), _SIZE_CLASSES - 1)] += 1
        self.waited_s += waited_s
        if longest_wait_s > self.longest_wait_s:
            self.longest_wait_s = longest_wait_s
