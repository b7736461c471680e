"""StreamPredict: one caller's predictions, pipelined by request id on one stream. Each message is a request
of its own, with a deadline, an error and a record of its own; what it runs is `servicers/prediction.py`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, InvalidRequest
from forebay.v1 import prediction_pb2 as pb
from grpc import StatusCode

from runtime.clock import Clock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.layers import told
from runtime.rpc.status import code_of, status_of

Predict = Callable[[pb.PredictRequest, Call, Deadline], Awaitable[bytes]]
"""Answers one request, not after the given deadline even if its call and its pipeline allow more."""

_SLACK_S: Final = 0.01
"""For so long after its deadline a message may still answer by itself; then it is cancelled."""
_ID_TAG: Final = b"\x0a"
_RESPONSE_TAG: Final = b"\x12"
"""Tags of StreamPredictResponse's fields 1 and 2, both of the kind that begins with a length."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one stream may hold: predictions under way, and seconds that each may take.

    `charge` is called with the caller's name for each, and may raise an `Error`: a stream is no way around a
    quota of calls.
    """

    messages: int
    max_timeout_s: float
    charge: Callable[[str], None] | None = None


@dataclass(slots=True, eq=False)
class _Message:
    """A request under way."""

    call: Call
    due_s: float
    task: asyncio.Task[None] | None = None
    overdue: bool = False


class PredictionStream:
    """One stream: a task reads, a task per message predicts, and whoever iterates `answers` writes.

    At most `limits.messages` are between being read and being written: past that nothing is read, so a caller
    that doesn't read its answers is held back by HTTP/2 and costs no more memory.
    """

    def __init__(
        self,
        predict: Predict,
        call: Call,
        limits: StreamLimits,
        clock: Clock,
        recent: RecentRequests,
    ) -> None:
        self._predict = predict
        self._call = call
        self._limits = limits
        self._clock = clock
        self._recent = recent
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[str, _Message] = {}
        self._answered: deque[tuple[Call, bytes]] = deque()
        self._held = 0
        self._ending = False
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._sweep_s = inf
        self._timer: asyncio.TimerHandle | None = None

    async def answers(self, requests: AsyncIterator[pb.StreamPredictRequest]) -> AsyncGenerator[bytes, None]:
        """Yield serialised StreamPredictResponses in the order in which they are ready, until the requests
        have ended and all are answered.

        Raises: what `requests` raises, once what came before is answered.
        Cancellation: closing the generator cancels what is under way, and returns when it has ended.
        """
        reader = self._loop.create_task(self._read(requests), name="stream reader")
        reader.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                while self._answered:
                    call, answer = self._answered.popleft()
                    self._recent.append(call.record(self._clock.monotonic_s()))
                    yield answer
                    self._held -= 1
                    self._room.set()
                if reader.done() and not self._under_way:
                    break
                self._news.clear()
                await self._news.wait()
        finally:
            await self._end(reader)
        reader.result()

    async def _read(self, requests: AsyncIterator[pb.StreamPredictRequest]) -> None:
        async for message in requests:
            self._held += 1
            self._begin(message)
            while self._held >= self._limits.messages:
                self._room.clear()
                await self._room.wait()

    def _begin(self, message: pb.StreamPredictRequest) -> None:
        call = self._call.message(self._clock.monotonic_s(), self._clock.now_us())
        identity = message.request_id
        try:
            due_s = self._accept(message, call)
        except Error as error:
            self._answer(call, _failed(identity, call, error))
            return
        entry = self._under_way[identity] = _Message(call, due_s)
        entry.task = self._loop.create_task(self._run(identity, message.request, entry))
        if due_s < self._sweep_s:
            self._sweep_at(due_s)

    def _accept(self, message: pb.StreamPredictRequest, call: Call) -> float:
        """Return until when the message must be answered, and give its call its own deadline."""
        if not message.request_id:
            raise InvalidRequest("request_id: is empty; answers are told apart by it", field="request_id")
        if message.request_id in self._under_way:
            raise InvalidRequest(
                "request_id: an earlier message of this id has no answer yet", field="request_id"
            )
        if self._limits.charge is not None:
            self._limits.charge(call.caller)
        if message.timeout_us < 0:
            raise InvalidRequest("timeout_us: must not be negative; 0 for the pipeline's", field="timeout_us")
        if message.timeout_us:
            call.deadline = Deadline(call.started_s + message.timeout_us / 1e6)
        last_s = min(self._call.deadline.at_s, call.started_s + self._limits.max_timeout_s)
        return min(call.deadline.at_s, last_s)

    async def _run(self, identity: str, request: pb.PredictRequest, entry: _Message) -> None:
        call = entry.call
        try:
            answer = _framed(identity, await self._predict(request, call, Deadline(entry.due_s)))
        except asyncio.CancelledError as error:
            if self._ending:
                raise
            # Cancelled by the sweep; or something that it awaited was, which nobody asked for.
            late = DeadlineExceeded("the deadline passed") if entry.overdue else told(error, call)
            answer = _failed(identity, call, late)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            answer = _failed(identity, call, told(error, call))
        del self._under_way[identity]
        self._answer(call, answer)

    def _answer(self, call: Call, answer: bytes) -> None:
        self._answered.append((call, answer))
        self._news.set()

    def _sweep_at(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sweep_s = due_s
        left_s = due_s - self._clock.monotonic_s()
        self._timer = self._loop.call_later(max(0.0, left_s) + _SLACK_S, self._sweep)

    def _sweep(self) -> None:
        """Cancel what is past its deadline and hasn't said so itself; be back for the next."""
        self._timer, self._sweep_s = None, inf
        now_s = self._clock.monotonic_s()
        for entry in self._under_way.values():
            if entry.due_s <= now_s and not entry.overdue and entry.task is not None:
                entry.overdue = True
                entry.task.cancel()
        next_s = min((entry.due_s for entry in self._under_way.values() if not entry.overdue), default=inf)
        if next_s < inf:
            self._sweep_at(next_s)

    async def _end(self, reader: asyncio.Task[None]) -> None:
        """Cancel what is still under way, and wait until it has ended."""
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
        cancelled = [entry.call for entry in self._under_way.values()] + [call for call, _ in self._answered]
        tasks = [reader, *(entry.task for entry in self._under_way.values() if entry.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        now_s = self._clock.monotonic_s()
        for call in cancelled:
            call.status = StatusCode.CANCELLED
            self._recent.append(call.record(now_s))


def _failed(identity: str, call: Call, error: Error) -> bytes:
    call.status = code_of(error)
    return pb.StreamPredictResponse(request_id=identity, error=status_of(error)).SerializeToString()


def _framed(identity: str, response: bytes) -> bytes:
    """Return a StreamPredictResponse around a response's bytes: to put a message into another costs a copy of
    all its parts."""
    name = identity.encode()
    return b"".join((_ID_TAG, _varint(len(name)), name, _RESPONSE_TAG, _varint(len(response)), response))


def _varint(number: int) -> bytes:
    """Return a length as protobuf writes it: seven bits per byte, the lowest first."""
    raw = bytearray()
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    raw.append(number)
    return bytes(raw)
