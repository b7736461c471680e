"""One call under way, as a servicer sees it. `layers.py` makes it and reads from it how the call went."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, Final

import grpc
from forebay.deadline import NEVER, Deadline

from runtime.recent import RecordedAnswer, RequestRecord
from runtime.stages import StageTiming

CALLER_KEY: Final = "forebay-caller"
CRITICALITY_KEY: Final = "forebay-criticality"
LONGEST_CALLER: Final = 128
"""Characters of a caller's name; our own clients refuse to send more."""
TRACEPARENT_KEY: Final = "traceparent"
MESSAGE: Final = ".message"
"""What follows a method's name where one message of its stream is recorded."""
CRITICALITIES: Final = ("critical", "default", "sheddable")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

Context = grpc.aio.ServicerContext[Any, Any]


class Call:
    """What is known of a call besides its request, and what its servicer reports back.

    `deadline` is the caller's, NEVER where it gave none; a servicer that caps it assigns the earlier one.
    `pipeline`, `stages` and `answer` are set by the servicer, for the ring of recent requests.
    Units: `started_s` is of the monotonic clock.
    """

    __slots__ = (
        "_context",
        "_metadata",
        "_parent",
        "_span_id",
        "_trace_id",
        "answer",
        "deadline",
        "method",
        "pipeline",
        "stages",
        "started_at_us",
        "started_s",
        "status",
    )

    def __init__(self, method: str, context: Context, started_s: float, started_at_us: int) -> None:
        self.method = method
        self.started_s = started_s
        self.started_at_us = started_at_us
        self.deadline: Deadline = NEVER
        self.status = grpc.StatusCode.OK
        self.pipeline = ""
        self.stages: Sequence[StageTiming] = ()
        self.answer: RecordedAnswer | None = None
        self._context = context
        self._metadata: dict[str, str | bytes] | None = None
        self._parent: re.Match[str] | None = None
        self._trace_id = ""
        self._span_id = ""

    @property
    def caller(self) -> str:
        """Who calls, by its own word, cut to `LONGEST_CALLER`; empty where it doesn't say."""
        return self.metadata(CALLER_KEY)[:LONGEST_CALLER]

    @property
    def criticality(self) -> str:
        """critical, default or sheddable; default where the caller says nothing, or something else."""
        given = self.metadata(CRITICALITY_KEY)
        return given if given in CRITICALITIES else "default"

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits: the caller's trace, or one drawn when first asked for."""
        if not self._trace_id:
            parent = self._traceparent()
            self._trace_id = parent[1] if parent else random.randbytes(16).hex()
        return self._trace_id

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits of this call's own span, drawn when first asked for."""
        if not self._span_id:
            self._span_id = f"{random.getrandbits(64) or 1:016x}"
        return self._span_id

    @property
    def parent_span_id(self) -> str:
        """16 hexadecimal digits of the caller's span; empty where it sends none."""
        parent = self._traceparent()
        return parent[2] if parent else ""

    @property
    def sampled(self) -> bool:
        """Whether the caller records its trace."""
        parent = self._traceparent()
        return bool(parent and int(parent[3], 16) & 1)

    def metadata(self, key: str) -> str:
        """Return the first value that the caller sent under `key`, empty where it sent none."""
        if self._metadata is None:
            # Reversed, so that the first of several under one key stays.
            self._metadata = dict(reversed(tuple(self._context.invocation_metadata() or ())))
        value = self._metadata.get(key, "")
        return value if isinstance(value, str) else value.decode("latin-1")

    def set_trailing(self, key: str, value: str) -> None:
        """Add trailing metadata to the answer, whether it succeeds or fails."""
        self._context.set_trailing_metadata((*self._context.trailing_metadata(), (key, value)))

    def message(self, started_s: float, started_at_us: int) -> Call:
        """Return a call for one message of this stream, a request of its own that began at these instants.

        It has the stream's metadata, and so its caller, criticality and trace (one of its own where the
        caller sent none); no deadline yet.
        """
        own = Call(f"{self.method}{MESSAGE}", self._context, started_s, started_at_us)
        if self._metadata is None:
            self.metadata(TRACEPARENT_KEY)
        own._metadata, own._parent = self._metadata, self._parent
        return own

    async def read(self) -> Any:
        """Return the bytes of the next message of a stream; grpc.aio.EOF after the last.

        Cancellation: a message that arrives meanwhile is lost.
        """
        return await self._context.read()

    async def write(self, response: bytes) -> None:
        """Send a message of a stream; waits while the caller doesn't read. One at a time."""
        await self._context.write(response)

    def time_remaining_s(self) -> float | None:
        """Return what gRPC says is left of the caller's deadline, not below 0; None where it gave none."""
        return self._context.time_remaining()

    def finish_with(
        self, code: grpc.StatusCode, message: str, trailers: tuple[tuple[str, str | bytes], ...]
    ) -> None:
        """Make the call end with a status other than OK."""
        self.status = code
        self._context.set_code(code)
        self._context.set_details(message)
        self._context.set_trailing_metadata((*self._context.trailing_metadata(), *trailers))

    def record(self, now_s: float) -> RequestRecord:
        """Return how the call went, when it ends at `now_s`."""
        given_s = self.deadline.at_s - self.started_s
        return RequestRecord(
            self.method,
            self.pipeline,
            "OK" if self.status is grpc.StatusCode.OK else self.status.name,
            self.started_at_us,
            round((now_s - self.started_s) * 1_000_000),
            0 if self.deadline is NEVER else round(given_s * 1_000_000),
            self.stages,
            self.answer,
            self._trace_id,
            self.started_s,
        )

    def _traceparent(self) -> re.Match[str] | None:
        if self._parent is None:
            sent = self.metadata(TRACEPARENT_KEY)
            if sent:
                self._parent = _TRACEPARENT.fullmatch(sent)
        return self._parent
