"""A bounded ring of recent requests, for `forebay trace` and the console. Telemetry fills it; the admin
servicer reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runtime.stages import StageTiming


@dataclass(slots=True)
class RequestRecord:
    """How one request went.

    `status` is the gRPC code's name. `degradations` and `provenance` are the answer's own messages, kept by
    reference: a request that failed has none. Units: microseconds; `given_us` is 0 without a deadline.
    """

    method: str
    pipeline: str
    status: str
    started_at_us: int
    duration_us: int
    given_us: int
    stages: Sequence[StageTiming]
    degradations: Sequence[Any]
    provenance: Any
    trace_id: str
    started_s: float
    """When the request began, on the monotonic clock that its stages are on."""

    def has_id(self, identity: str) -> bool:
        """Return whether `identity` is the request's prediction id or trace id."""
        return identity == self.trace_id or (
            self.provenance is not None
            and identity in (self.provenance.prediction_id, self.provenance.trace_id)
        )


class RecentRequests:
    """The last `capacity` requests; the oldest give way. Cost: one append per request."""

    __slots__ = ("_records", "append")

    def __init__(self, capacity: int) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=capacity)
        self.append = self._records.append

    def latest(self, limit: int, identity: str = "") -> list[RequestRecord]:
        """Return at most `limit` records, the latest first; only those with that id where one is given."""
        return list(islice(self._matching(identity), limit))

    def _matching(self, identity: str) -> Iterator[RequestRecord]:
        return (record for record in reversed(self._records) if not identity or record.has_id(identity))
