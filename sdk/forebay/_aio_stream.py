"""Many predictions on one stream, for the async client. Its sync twin, `_stream.py`, says what each part
does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import Any, Self

import grpc
from forebay import _requests
from forebay._aio_calls import Calls
from forebay._channel import STREAM_PREDICT
from forebay._status import error_of
from forebay._stream import CLOSE_S, STREAM_CLOSED, STREAM_ENDED, slots
from forebay._terms import Metadata, timeout
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, NotUsable, Unavailable
from forebay.results import Answer
from forebay.v1 import prediction_pb2 as pb


class PredictStream:
    """An open stream of predictions, pipelined: answers come as they end. Used in an `async with` block.

    Leaving the block waits for the answers that are outstanding, each until its deadline; after an exception
    it drops them. It doesn't reconnect: once it has ended, everything fails with Unavailable.
    """

    def __init__(self, calls: Calls, metadata: Metadata, timeout_s: float, max_pending: int) -> None:
        self._calls = calls
        self._metadata = metadata
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(slots(max_pending))
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._outgoing: dict[
            str, tuple[pb.PredictRequest, Deadline]
        ] = {}  # those waiting that aren't sent yet
        self._to_send = asyncio.Event()
        self._asked_count = 0
        self._half_closed = False
        self._settled = asyncio.Event()
        self._settled.set()
        self._end: Error | None = None
        self._call: Any = None
        self._tasks: list[asyncio.Task[None]] = []

    async def predict(
        self,
        pipeline: str,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        top: int | None = None,
        return_features: Sequence[str] = (),
        candidates: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **named: Any,
    ) -> Answer:
        """Send a request and return its answer; `asyncio.gather` of several pipelines them.

        Cancelling the task that awaits it drops the answer and leaves the stream as it is. While the most
        that may be outstanding are, it waits for its turn, within its own timeout.

        Raises: what `Client.predict` does; Unavailable when the stream has ended.
        """
        request = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        given_s = timeout(self._timeout_s if timeout_s is None else timeout_s)
        if given_s <= 0:
            raise DeadlineExceeded("no time was left when the request was to be sent")
        deadline = Deadline.after(given_s, time.monotonic())
        try:
            async with asyncio.timeout(given_s) as scope, self._slots:
                return await self._ask(request, deadline)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded("no answer in time") from error

    async def close(self) -> None:
        """Take no more requests, wait for the answers that are outstanding, and end the stream."""
        self._half_closed = True
        self._to_send.set()
        await self._settled.wait()
        await asyncio.wait(self._tasks, timeout=CLOSE_S)
        await self._stop()

    async def __aenter__(self) -> Self:
        self._call = self._calls.stream(STREAM_PREDICT, self._metadata)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._stop()

    async def _ask(self, request: pb.PredictRequest, deadline: Deadline) -> Answer:
        if not self._tasks:
            raise NotUsable("the stream isn't open: use it in an `async with` block")
        if self._half_closed:
            raise Unavailable(STREAM_CLOSED)
        if self._end is not None:
            raise copy(self._end)
        self._asked_count += 1
        request_id = str(self._asked_count)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        self._settled.clear()
        self._outgoing[request_id] = (request, deadline)
        self._to_send.set()
        try:
            return await future
        finally:
            # Whose caller has gone is not answered any more: a late answer finds nobody.
            self._waiting.pop(request_id, None)
            self._outgoing.pop(request_id, None)
            if not self._waiting:
                self._settled.set()

    async def _write(self) -> None:
        """Alone writes: gRPC takes one message at a time, and a cancelled write ends the stream."""
        try:
            while True:
                # Cleared first: what is set while a message is written is seen by the wait below.
                self._to_send.clear()
                while self._outgoing:
                    await self._call.write(self._next_message())
                if self._half_closed or self._end is not None:
                    break
                await self._to_send.wait()
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended; the reader says why.
            return

    def _next_message(self) -> pb.StreamPredictRequest:
        """What is sent, with the time that is left of its deadline."""
        request_id = next(iter(self._outgoing))
        request, deadline = self._outgoing.pop(request_id)
        left_us = round(deadline.remaining_s(time.monotonic()) * 1_000_000)
        return pb.StreamPredictRequest(request_id=request_id, request=request, timeout_us=max(1, left_us))

    async def _read(self) -> None:
        end: Error = Unavailable(STREAM_ENDED)
        try:
            async for message in self._call:
                self._settle(message.request_id, _requests.streamed(message))
        except grpc.aio.AioRpcError as error:
            end = error_of(error.code(), error.details(), error.trailing_metadata())
        except asyncio.CancelledError:
            # The client was closed, or this stream: gRPC cancels its reader with it, as if somebody had
            # cancelled this task.
            end = Unavailable(STREAM_CLOSED)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        finally:
            self._finish(end)

    def _finish(self, end: Error) -> None:
        self._end = end
        self._to_send.set()
        for request_id in list(self._waiting):
            self._settle(request_id, copy(end))

    def _settle(self, request_id: str, outcome: Answer | Error) -> None:
        """Tell who waits; nobody does when its deadline was first."""
        future = self._waiting.pop(request_id, None)
        if future is None or future.done():
            return
        if isinstance(outcome, Error):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    async def _stop(self) -> None:
        self._half_closed = True
        self._to_send.set()
        self._call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
