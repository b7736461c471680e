"""Many predictions on one stream, for the sync client. The async twin is `_aio_stream.py`."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from types import TracebackType
from typing import Any, Self

import grpc
from forebay import _requests
from forebay._calls import Calls
from forebay._channel import STREAM_PREDICT
from forebay._status import error_of
from forebay._terms import Metadata, timeout
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, InvalidRequest, Unavailable
from forebay.results import Answer
from forebay.v1 import prediction_pb2 as pb

STREAM_CLOSED = "the stream is closed"
STREAM_ENDED = "the server ended the stream: open another"
CLOSE_S = 1.0
"""How long the server has to end a stream on which everything is answered."""
DEADLINES_KEPT = 1000
"""Deadlines of answered requests that are kept before they are swept."""


class PredictStream:
    """An open stream of predictions, pipelined: answers come as they end. Many threads may use it.

    Leaving its `with` block waits for the answers that are outstanding, each until its deadline; after an
    exception it drops them. It doesn't reconnect: once it has ended, everything fails with Unavailable.
    """

    def __init__(self, calls: Calls, metadata: Metadata, timeout_s: float, max_pending: int) -> None:
        self._timeout_s = timeout_s
        self._slots = threading.Semaphore(slots(max_pending))
        self._lock = threading.Lock()
        self._to_send = threading.Condition(self._lock)
        self._to_expire = threading.Condition(self._lock)
        self._settled = threading.Condition(self._lock)
        self._waiting: dict[str, _Asked] = {}
        self._outgoing: dict[str, _Asked] = {}  # those waiting that aren't sent yet
        self._deadlines: list[tuple[Deadline, str]] = []  # a heap; those answered stay until their time
        self._asked_count = 0
        self._end: Error | None = None
        self._half_closed = False
        self._call = calls.stream(self._requests(), STREAM_PREDICT, metadata)
        self._reader = threading.Thread(target=self._read, name="forebay-stream-reader", daemon=True)
        self._timer = threading.Thread(target=self._expire, name="forebay-stream-timer", daemon=True)
        self._reader.start()
        self._timer.start()

    def predict(
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
    ) -> Future[Answer]:
        """Send a request; return the future of its answer, which raises what `Client.predict` would.

        The future can't be cancelled; its callbacks run in the stream's own thread and should be quick.

        Raises: InvalidRequest; Unavailable when the stream has ended; DeadlineExceeded when the most that may
        be outstanding was so for the whole timeout. Cost: none of waiting, until so many are outstanding.
        """
        request = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        given_s = timeout(self._timeout_s if timeout_s is None else timeout_s)
        deadline = Deadline.after(given_s, time.monotonic())
        if given_s <= 0 or not self._slots.acquire(timeout=given_s):
            raise DeadlineExceeded("no time was left when the request was to be sent")
        return self._ask(request, deadline)

    def close(self) -> None:
        """Take no more requests, wait for the answers that are outstanding, and end the stream.

        From a future's callback, which the stream's own threads run, it waits for nothing.
        """
        if not self._in_callback():
            with self._lock:
                self._half_closed = True
                self._to_send.notify_all()
                self._settled.wait_for(lambda: not self._waiting)
            self._reader.join(CLOSE_S)
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._stop()

    def _ask(self, request: pb.PredictRequest, deadline: Deadline) -> Future[Answer]:
        with self._lock:
            end = Unavailable(STREAM_CLOSED) if self._half_closed else self._end
            if end is not None:
                self._slots.release()
                raise copy(end)
            self._asked_count += 1
            asked = _Asked(str(self._asked_count), request, deadline)
            self._waiting[asked.request_id] = asked
            self._outgoing[asked.request_id] = asked
            self._to_send.notify()
            self._watch_deadline(asked)
        return asked.future

    def _watch_deadline(self, asked: _Asked) -> None:
        if len(self._deadlines) > 2 * len(self._waiting) + DEADLINES_KEPT:
            self._deadlines = [(each.deadline, each.request_id) for each in self._waiting.values()]
            heapq.heapify(self._deadlines)
        else:
            heapq.heappush(self._deadlines, (asked.deadline, asked.request_id))
        if self._deadlines[0][1] == asked.request_id:
            self._to_expire.notify()

    def _requests(self) -> Iterator[pb.StreamPredictRequest]:
        """What gRPC sends, in a thread of its own and no faster than the server takes it."""
        while True:
            with self._lock:
                self._to_send.wait_for(lambda: self._outgoing or self._half_closed or self._end)
                if self._end or not self._outgoing:
                    return
                asked = self._outgoing.pop(next(iter(self._outgoing)))
            message = asked.message(time.monotonic())
            if message is not None:
                yield message

    def _read(self) -> None:
        end: Error = Unavailable(STREAM_ENDED)
        try:
            for message in self._call:
                self._settle(message.request_id, _requests.streamed(message))
        except grpc.RpcError as error:
            end = error_of(error.code(), error.details(), error.trailing_metadata())
        finally:
            self._finish(end)

    def _finish(self, end: Error) -> None:
        with self._lock:
            self._end = end
            left = list(self._waiting)
            self._to_send.notify_all()
            self._to_expire.notify_all()
        for request_id in left:
            self._settle(request_id, copy(end))

    def _expire(self) -> None:
        """End those whose deadline passes, so that no future waits for a server that is silent."""
        while True:
            with self._lock:
                if self._end is not None:
                    return
                now_s = time.monotonic()
                late = self._late(now_s)
                if not late:
                    left_s = self._deadlines[0][0].remaining_s(now_s) if self._deadlines else None
                    self._to_expire.wait(left_s)
            for request_id in late:
                self._settle(request_id, DeadlineExceeded("no answer in time"))

    def _late(self, now_s: float) -> list[str]:
        late = []
        while self._deadlines and self._deadlines[0][0].expired(now_s):
            late.append(heapq.heappop(self._deadlines)[1])
        return late

    def _settle(self, request_id: str, outcome: Answer | Error) -> None:
        """Tell who waits; nobody does when its deadline was first."""
        with self._lock:
            asked = self._waiting.pop(request_id, None)
            self._outgoing.pop(request_id, None)
            if not self._waiting:
                self._settled.notify_all()
        if asked is None:
            return
        self._slots.release()
        if isinstance(outcome, Error):
            asked.future.set_exception(outcome)
        else:
            asked.future.set_result(outcome)

    def _stop(self) -> None:
        with self._lock:
            self._half_closed = True
            self._to_send.notify_all()
        self._call.cancel()
        if not self._in_callback():
            self._reader.join()
            self._timer.join()

    def _in_callback(self) -> bool:
        return threading.current_thread() in (self._reader, self._timer)


def slots(max_pending: int) -> int:
    """Return how many requests may be outstanding. Raises: InvalidRequest."""
    if max_pending < 1:
        raise InvalidRequest("max_pending: must be at least 1", field="max_pending")
    return max_pending


class _Asked:
    """One request on a stream, and the future of its answer."""

    __slots__ = ("deadline", "future", "request", "request_id")

    def __init__(self, request_id: str, request: pb.PredictRequest, deadline: Deadline) -> None:
        self.request_id = request_id
        self.request = request
        self.deadline = deadline
        self.future: Future[Answer] = Future()
        self.future.set_running_or_notify_cancel()

    def message(self, now_s: float) -> pb.StreamPredictRequest | None:
        """Return what is sent, with the time that is left of its deadline; None where none is."""
        left_us = round(self.deadline.remaining_s(now_s) * 1_000_000)
        if left_us <= 0:
            return None
        return pb.StreamPredictRequest(request_id=self.request_id, request=self.request, timeout_us=left_us)
