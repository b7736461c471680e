"""A bounded ring of recent requests, for `forebay trace` and the console, and counts of how all calls ended.
Telemetry fills it; the admin servicer reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from runtime.stages import StageTiming

OTHER_METHODS = "(others)"
"""What calls are counted under once too many methods are known: callers make up names that nothing serves."""

_MOST_METHODS = 64


class RecordedAnswer(Protocol):
    """What is kept of an answer: the response itself, or its bytes, parsed when somebody asks."""

    @property
    def degradations(self) -> Sequence[Any]: ...

    @property
    def provenance(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class RecordedParts:
    """The parts of an answer that are kept where the rest isn't."""

    provenance: Any
    degradations: Sequence[Any] = ()


@dataclass(slots=True)
class RequestRecord:
    """How one request went.

    `status` is the gRPC code's name. `answer` is kept by reference: a request that failed has none. Units:
    microseconds; `given_us` is 0 without a deadline.
    """

    method: str
    pipeline: str
    status: str
    started_at_us: int
    duration_us: int
    given_us: int
    stages: Sequence[StageTiming]
    answer: RecordedAnswer | None
    trace_id: str
    started_s: float
    """When the request began, on the monotonic clock that its stages are on."""

    @property
    def degradations(self) -> Sequence[Any]:
        """What the answer had to leave out or replace, as messages."""
        return () if self.answer is None else self.answer.degradations

    @property
    def provenance(self) -> Any:
        """What made the answer, as a message; None where there is no answer."""
        return None if self.answer is None else self.answer.provenance

    def has_id(self, identity: str) -> bool:
        """Return whether `identity` is the request's prediction id or trace id."""
        provenance = self.provenance
        return identity == self.trace_id or (
            provenance is not None and identity in (provenance.prediction_id, provenance.trace_id)
        )


@dataclass(slots=True)
class MethodCounts:
    """How the calls of one method have ended since the start of the process.

    by_status: calls by the gRPC code's name.
    late: those with an answer that was handed to the transport after the call's deadline, by this process's
        clock. A call that ended with an error gave no answer, whenever that was.
    """

    by_status: dict[str, int] = field(default_factory=dict)
    late: int = 0

    def add(self, record: RequestRecord) -> None:
        """Count one call that has ended."""
        status = record.status
        self.by_status[status] = self.by_status.get(status, 0) + 1
        if 0 < record.given_us < record.duration_us and status == "OK":
            self.late += 1


class RecentRequests:
    """The last `capacity` requests, the oldest give way; and counts of all. Cost: constant per request."""

    __slots__ = ("_counts", "_records")

    def __init__(self, capacity: int) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=capacity)
        self._counts: dict[str, MethodCounts] = {}

    def append(self, record: RequestRecord) -> None:
        """Keep how a request went, and count it."""
        self._records.append(record)
        counts = self._counts.get(record.method)
        if counts is None:
            name = record.method if len(self._counts) < _MOST_METHODS else OTHER_METHODS
            counts = self._counts.setdefault(name, MethodCounts())
        counts.add(record)

    @property
    def counts(self) -> Mapping[str, MethodCounts]:
        """How the calls of each method have ended."""
        return self._counts

    def latest(self, limit: int, identity: str = "") -> list[RequestRecord]:
        """Return at most `limit` records, the latest first; only those with that id where one is given."""
        return list(islice(self._matching(identity), limit))

    def _matching(self, identity: str) -> Iterator[RequestRecord]:
        return (record for record in reversed(self._records) if not identity or record.has_id(identity))
