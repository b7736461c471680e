"""The values of the queue: a prediction as it was submitted, as a worker is given it, and what became of
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from forebay.errors import Corrupt

MAX_ID_LENGTH = 64
MAX_KEY_BYTES = 256
"""Longest idempotency key."""


class State(Enum):
    """What is known of a prediction. Names as Redis holds them."""

    PENDING = b"PENDING"
    DONE = b"DONE"
    FAILED = b"FAILED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A prediction's state, and its `body`: a serialised PredictResponse where it is DONE, a serialised
    google.rpc.Status where it FAILED, else empty."""

    state: State
    body: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """A prediction to be made. `release` is the one that its request was checked against; `key_hash` names
    its idempotency key, empty where it has none. Units: microseconds, UTC."""

    prediction_id: str
    request: bytes
    release: int
    trace_id: str
    key_hash: str
    submitted_us: int

    def fields(self) -> list[bytes | str | int]:
        """Return it as an entry of the stream: names and values by turns."""
        return [
            *("id", self.prediction_id, "request", self.request, "release", self.release),
            *("trace", self.trace_id, "key", self.key_hash, "at", self.submitted_us),
        ]

    @classmethod
    def of(cls, fields: Sequence[bytes]) -> Submission:
        """Return what an entry holds. Raises: Corrupt."""
        found = dict(zip(fields[::2], fields[1::2], strict=False))
        try:
            return cls(
                prediction_id=found[b"id"].decode(),
                request=found[b"request"],
                release=int(found[b"release"]),
                trace_id=found[b"trace"].decode(),
                key_hash=found[b"key"].decode(),
                submitted_us=int(found[b"at"]),
            )
        except (KeyError, ValueError) as error:
            raise Corrupt("an entry of the queue is no submitted prediction") from error


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry given to a worker, the `count`-th time that it is given to one. What can't be read has no
    submission."""

    entry: str
    submission: Submission | None
    count: int

    @classmethod
    def of(cls, entry: bytes, fields: Sequence[bytes], count: int) -> Delivery:
        """Return the delivery of an entry as Redis gives it."""
        try:
            return cls(entry.decode(), Submission.of(fields), count)
        except Corrupt:
            return cls(entry.decode(), None, count)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a delivery ended. `dead` says why it is given up for good; empty where it isn't a dead letter."""

    delivery: Delivery
    state: State
    body: bytes
    dead: str = ""
