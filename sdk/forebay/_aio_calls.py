"""The async client's calls: the attempts that `_retry.py` decides on. Its sync twin is `_calls.py`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from forebay import _channel
from forebay._calls import CLOSED, FORKED
from forebay._channel import STREAM_PREDICT, UNARY, WATCH_PREDICTION, Method, Repeats, Request, Response
from forebay._predictions import LONGEST_WAIT_S, SHORTEST_WAIT_S, Watched
from forebay._retry import Course, Policy
from forebay._status import Failure, failure_of
from forebay._terms import Metadata, Terms
from forebay.errors import DeadlineExceeded, Error, NotUsable, Unavailable
from forebay.results import Answer


class Calls:
    """A channel per address, and calls over them, in one event loop."""

    def __init__(
        self,
        addresses: Sequence[str],
        policy: Policy,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, Any]],
    ) -> None:
        self._policy = policy
        self._closed = False
        self._process = os.getpid()
        self._channels = [_open(address, credentials, _channel.options(options)) for address in addresses]
        self._stubs = [_stubs(channel) for channel in self._channels]

    async def unary(self, method: Method[Request, Response], request: Request, terms: Terms) -> Response:
        """Return the response, after as many attempts as the policy allows. Raises: Error."""
        self._check()
        course = self._policy.course(method.repeats, terms.deadline)
        if course.hedges:
            response: Response = await _Race(self, method, request, terms, course).run()
            return response
        address = course.begin(time.monotonic())
        while True:
            answer = await self.attempt(address, method, request, terms)
            if not isinstance(answer, Failure):
                course.answered(address)
                return answer
            if course.failed(address, answer, time.monotonic()):
                raise answer.error
            address = await self._next(course)

    async def attempt(
        self, address: int, method: Method[Request, Response], request: Request, terms: Terms
    ) -> Response | Failure:
        """Return the response of one call, or how it failed.

        Raises: Unavailable when closed, DeadlineExceeded where no time is left.
        """
        left_s = terms.left_s(time.monotonic())
        try:
            call = self._stubs[address][method.path](request, timeout=left_s, metadata=terms.metadata)
        except grpc.aio.UsageError as error:
            raise Unavailable(CLOSED) from error
        try:
            response: Response = await call
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error.code(), error.details(), error.trailing_metadata())
            # Without its frames, which would keep the call, and with it the connection, as long as the error.
            failure.error.__cause__ = error.with_traceback(None)
            return failure
        except asyncio.CancelledError as error:
            raise self._closed_or(error) from error
        finally:
            # Does nothing to a call that has ended; one left behind would never be collected (grpc#43462).
            call.cancel()
        return response

    async def watch(self, watched: Watched, terms: Terms) -> AsyncIterator[tuple[str, Answer | Error]]:
        """Yield each prediction's end as it comes, over as many calls as it takes.

        Raises: Error; DeadlineExceeded when time is up.
        """
        self._check()
        course = self._policy.course(Repeats.RETRY, terms.deadline)
        address = course.begin(time.monotonic())
        while watched:
            failure = None
            call = self._begin_watch(address, watched, terms)
            try:
                async with aclosing(_ends(call, watched)) as ends:
                    async for end in ends:
                        course.renew()
                        yield end
                course.answered(address)
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error.code(), error.details(), error.trailing_metadata())
            except asyncio.CancelledError as error:
                raise self._closed_or(error) from error
            now_s = time.monotonic()
            if watched and terms.deadline.expired(now_s):
                raise watched.late
            if failure is not None and not isinstance(failure.error, DeadlineExceeded):
                if course.failed(address, failure, now_s):
                    raise failure.error
                address = await self._next(course)
            elif watched:
                # The longest wait of one call is over.
                await asyncio.sleep(SHORTEST_WAIT_S)
                course = self._policy.course(Repeats.RETRY, terms.deadline)
                address = course.begin(now_s)

    def stream(self, method: Method[Any, Any], metadata: Metadata) -> Any:
        """Return a call that streams both ways, to the address whose turn it is.

        Raises: Unavailable when closed, NotUsable after a fork.
        """
        self._check()
        rotation = self._policy.rotation
        address = rotation.pick(rotation.turn(), (), time.monotonic())
        return self._stubs[address][method.path](metadata=metadata)

    async def close(self) -> None:
        """Close the channels; attempts under way fail, and none is begun any more."""
        self._closed = True
        if os.getpid() == self._process:
            for channel in self._channels:
                await channel.close()

    def _begin_watch(self, address: int, watched: Watched, terms: Terms) -> Any:
        timeout_s = min(terms.left_s(time.monotonic()), LONGEST_WAIT_S)
        stub = self._stubs[address][WATCH_PREDICTION.path]
        try:
            return stub(watched.request(), timeout=timeout_s, metadata=terms.metadata)
        except grpc.aio.UsageError as error:
            raise Unavailable(CLOSED) from error

    async def _next(self, course: Course) -> int:
        """Wait for the time of the next attempt; return its address."""
        assert course.next_s is not None, "a call that isn't over has a next attempt"
        await asyncio.sleep(course.next_s - time.monotonic())
        address = course.due(time.monotonic())
        assert address is not None, "only a hedge may be dropped"
        return address

    def _closed_or(self, error: asyncio.CancelledError) -> BaseException:
        """Closing a channel cancels what is under way on it, as if somebody had cancelled the task."""
        task = asyncio.current_task()
        closed = self._closed and task is not None and not task.cancelling()
        return Unavailable(CLOSED) if closed else error

    def _check(self) -> None:
        if self._closed:
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
        self._running: dict[asyncio.Task[Any], int] = {}

    async def run(self) -> Any:
        """Return the first answer; cancel whatever else runs."""
        try:
            self._start(self._course.begin(time.monotonic()))
            while True:
                for attempt in await self._wait():
                    address, answer = self._running.pop(attempt), attempt.result()
                    if not isinstance(answer, Failure):
                        self._course.answered(address)
                        return answer
                    if self._course.failed(address, answer, time.monotonic()):
                        raise answer.error
        finally:
            await self._cancel()

    async def _wait(self) -> set[asyncio.Task[Any]]:
        """Return the attempts that ended; none, once the time for the next one has come and it is begun."""
        next_s = self._course.next_s
        wait_s = None if next_s is None else max(0.0, next_s - time.monotonic())
        if not self._running:
            assert wait_s is not None, "a call that isn't over has a next attempt"
            await asyncio.sleep(wait_s)
        else:
            ended, _ = await asyncio.wait(self._running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if ended:
                return ended
        address = self._course.due(time.monotonic())
        if address is not None:
            self._start(address)
        return set()

    def _start(self, address: int) -> None:
        attempt = self._calls.attempt(address, self._method, self._request, self._terms)
        self._running[asyncio.create_task(attempt)] = address

    async def _cancel(self) -> None:
        for attempt in self._running:
            attempt.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _ends(call: Any, watched: Watched) -> AsyncGenerator[tuple[str, Answer | Error], None]:
    """What one call brings, until there is nothing to wait for."""
    try:
        async for message in call:
            ended = watched.ended(message)
            if ended is not None:
                yield message.prediction_id, ended
            if not watched:
                return
    finally:
        call.cancel()


def _open(
    address: str, credentials: grpc.ChannelCredentials | None, options: list[tuple[str, Any]]
) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, credentials, options)


def _stubs(channel: grpc.aio.Channel) -> dict[str, Any]:
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
