"""The sync client's calls: the attempts that `_retry.py` decides on. Its async twin is `_aio_calls.py`."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import grpc
from forebay import _channel
from forebay._channel import STREAM_PREDICT, UNARY, WATCH_PREDICTION, Method, Repeats, Request, Response
from forebay._predictions import LONGEST_WAIT_S, SHORTEST_WAIT_S, Watched
from forebay._retry import Course, Policy
from forebay._status import Failure, failure_of
from forebay._terms import Metadata, Terms
from forebay.errors import DeadlineExceeded, Error, NotUsable, Unavailable
from forebay.results import Answer

CLOSED = "the client is closed"
FORKED = "this client was made before a fork, which gRPC's threads don't survive: make one in each process"

Ended = queue.SimpleQueue[Any]


class Calls:
    """A channel per address, and calls over them. Many threads may use it at once."""

    def __init__(
        self,
        addresses: Sequence[str],
        policy: Policy,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, Any]],
    ) -> None:
        self._policy = policy
        self._closed = threading.Event()
        self._process = os.getpid()
        self._channels = [_open(address, credentials, _channel.options(options)) for address in addresses]
        self._stubs = [_stubs(channel) for channel in self._channels]

    def unary(self, method: Method[Request, Response], request: Request, terms: Terms) -> Response:
        """Return the response, after as many attempts as the policy allows. Raises: Error."""
        self._check()
        course = self._policy.course(method.repeats, terms.deadline)
        if course.hedges:
            won: Response = _Race(self, method, request, terms, course).run()
            return won
        address = course.begin(time.monotonic())
        while True:
            try:
                response: Response = self._stubs[address][method.path](
                    request, timeout=terms.left_s(time.monotonic()), metadata=terms.metadata
                )
            except grpc.RpcError as error:
                failure = failure_of(error.code(), error.details(), error.trailing_metadata())
                if course.failed(address, failure, time.monotonic()):
                    raise failure.error from error
            except ValueError as error:
                raise self._closed_or(error) from error
            else:
                course.answered(address)
                return response
            address = self._next(course)

    def start(self, address: int, method: Method[Any, Any], request: Any, terms: Terms) -> Any:
        """Return a call of a unary method, just begun. Raises: Unavailable when closed, DeadlineExceeded."""
        try:
            return self._stubs[address][method.path].future(
                request, timeout=terms.left_s(time.monotonic()), metadata=terms.metadata
            )
        except ValueError as error:
            raise self._closed_or(error) from error

    def watch(self, watched: Watched, terms: Terms) -> Iterator[tuple[str, Answer | Error]]:
        """Yield each prediction's end as it comes, over as many calls as it takes.

        Raises: Error; DeadlineExceeded when time is up.
        """
        self._check()
        course = self._policy.course(Repeats.RETRY, terms.deadline)
        address = course.begin(time.monotonic())
        while watched:
            failure = yield from self._watch_once(address, watched, terms, course)
            now_s = time.monotonic()
            if watched and terms.deadline.expired(now_s):
                raise watched.late
            if failure is not None and not isinstance(failure.error, DeadlineExceeded):
                if course.failed(address, failure, now_s):
                    raise failure.error
                address = self._next(course)
            elif watched:
                # The longest wait of one call is over.
                self.pause(now_s + SHORTEST_WAIT_S)
                course = self._policy.course(Repeats.RETRY, terms.deadline)
                address = course.begin(now_s)

    def stream(self, requests: Iterator[Any], method: Method[Any, Any], metadata: Metadata) -> Any:
        """Return a call that streams both ways, to the address whose turn it is.

        Raises: Unavailable when closed, NotUsable after a fork.
        """
        self._check()
        rotation = self._policy.rotation
        address = rotation.pick(rotation.turn(), (), time.monotonic())
        try:
            return self._stubs[address][method.path](requests, metadata=metadata)
        except ValueError as error:
            raise self._closed_or(error) from error

    def pause(self, until_s: float) -> None:
        """Wait. Raises: Unavailable when the client is closed meanwhile."""
        if self._closed.wait(max(0.0, until_s - time.monotonic())):
            raise Unavailable(CLOSED)

    def close(self) -> None:
        """Close the channels; attempts under way fail, and none is begun any more."""
        self._closed.set()
        if os.getpid() == self._process:
            for channel in self._channels:
                channel.close()

    def _watch_once(
        self, address: int, watched: Watched, terms: Terms, course: Course
    ) -> Generator[tuple[str, Answer | Error], None, Failure | None]:
        """Yield what one call brings; return how it failed, if it did."""
        timeout_s = min(terms.left_s(time.monotonic()), LONGEST_WAIT_S)
        stub = self._stubs[address][WATCH_PREDICTION.path]
        try:
            call = stub(watched.request(), timeout=timeout_s, metadata=terms.metadata)
        except ValueError as error:
            raise self._closed_or(error) from error
        try:
            for message in call:
                ended = watched.ended(message)
                if ended is not None:
                    course.renew()
                    yield message.prediction_id, ended
                if not watched:
                    break
        except grpc.RpcError as error:
            return failure_of(error.code(), error.details(), error.trailing_metadata())
        finally:
            call.cancel()
        course.answered(address)
        return None

    def _next(self, course: Course) -> int:
        """Wait for the time of the next attempt; return its address."""
        assert course.next_s is not None, "a call that isn't over has a next attempt"
        self.pause(course.next_s)
        address = course.due(time.monotonic())
        assert address is not None, "only a hedge may be dropped"
        return address

    def _closed_or(self, error: ValueError) -> Exception:
        """gRPC refuses a call on a channel that another thread has just closed with a ValueError."""
        return Unavailable(CLOSED) if self._closed.is_set() else error

    def _check(self) -> None:
        if self._closed.is_set():
            raise Unavailable(CLOSED)
        if os.getpid() != self._process:
            raise NotUsable(FORKED)


class _Race:
    """A call of which a second attempt may start while the first one runs. The first answer wins."""

    def __init__(
        self, calls: Calls, method: Method[Any, Any], request: Any, terms: Terms, course: Course
    ) -> None:
        self._calls = calls
        self._method = method
        self._request = request
        self._terms = terms
        self._course = course
        self._ended: Ended = queue.SimpleQueue()
        self._running: dict[Any, int] = {}

    def run(self) -> Any:
        """Return the first answer; cancel whatever else runs."""
        try:
            self._start(self._course.begin(time.monotonic()))
            while True:
                call = self._wait()
                if call is None:
                    address = self._course.due(time.monotonic())
                    if address is not None:
                        self._start(address)
                elif call.code() is grpc.StatusCode.OK:
                    self._course.answered(self._running.pop(call))
                    return call.result()
                else:
                    self._fail(call)
        finally:
            for call in self._running:
                call.cancel()

    def _start(self, address: int) -> None:
        call = self._calls.start(address, self._method, self._request, self._terms)
        self._running[call] = address
        call.add_done_callback(self._ended.put)

    def _wait(self) -> Any:
        """Return an attempt that ended; None at the time for the next one."""
        next_s = self._course.next_s
        if not self._running and next_s is not None:
            self._calls.pause(next_s)
            return None
        try:
            # Without a next attempt gRPC's own deadline ends the wait.
            return self._ended.get(timeout=None if next_s is None else max(0.0, next_s - time.monotonic()))
        except queue.Empty:
            return None

    def _fail(self, call: Any) -> None:
        failure: Failure = failure_of(call.code(), call.details(), call.trailing_metadata())
        if self._course.failed(self._running.pop(call), failure, time.monotonic()):
            raise failure.error from call


def _open(
    address: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def _stubs(channel: grpc.Channel) -> dict[str, Any]:
    stubs: dict[str, Any] = {}
    for make, methods in (
        (channel.unary_unary, UNARY),
        (channel.unary_stream, (WATCH_PREDICTION,)),
        (channel.stream_stream, (STREAM_PREDICT,)),
    ):
        for method in methods:
            serialize, parse = method.request.SerializeToString, method.response.FromString
            stubs[method.path] = make(method.path, serialize, parse)
    return stubs
