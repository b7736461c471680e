"""Methods that stream: messages in and out around a servicer's async generator, and how a stream ends when
its server does. The other layers (`layers.py`) are the same for every kind of method."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
from forebay.errors import InvalidRequest, Unavailable
from google.protobuf.message import DecodeError, Message

from runtime.rpc.call import Call
from runtime.rpc.layers import Step, wire_bytes
from runtime.rpc.stopping import Stopping

Request = TypeVar("Request", bound=Message)

_OVER: Final = "open a new stream, and send again what has no answer"


class StreamMethod(Protocol):
    """A servicer's method that streams: an async generator, given one request or the stream of them."""

    def __call__(self, request: Any, call: Call, /) -> AsyncGenerator[Message | bytes, None]: ...


class Requests(Generic[Request]):
    """The messages that a caller streams, parsed; an async iterator for one task at a time.

    It ends when the caller has sent its last, or when `stop` is called: then nothing more is read, and what
    the caller goes on sending stays with it by HTTP/2's flow control, which also holds it back while nobody
    asks for the next message.

    Raises: InvalidRequest where a message's bytes are garbage.
    """

    __slots__ = ("_call", "_name", "_parse", "_reader", "stopped")

    def __init__(self, call: Call, request_class: type[Request]) -> None:
        self.stopped = False
        self._call = call
        self._parse = request_class.FromString
        self._name = request_class.DESCRIPTOR.full_name
        self._reader: asyncio.Task[Any] | None = None

    def __aiter__(self) -> Requests[Request]:
        return self

    async def __anext__(self) -> Request:
        if self.stopped:
            raise StopAsyncIteration
        self._reader = reader = asyncio.current_task()
        try:
            raw = await self._call.read()
        except asyncio.CancelledError:
            # Ours, unless somebody else cancelled the task too: then it passes, as from asyncio.timeout.
            if self.stopped and self._reader is None and reader is not None and reader.uncancel() == 0:
                raise StopAsyncIteration from None
            raise
        finally:
            self._reader = None
        if raw is grpc.aio.EOF:
            raise StopAsyncIteration
        try:
            return self._parse(raw)
        except DecodeError as error:
            raise InvalidRequest(f"a message's bytes are no {self._name}") from error

    def stop(self) -> None:
        """End the iteration, whether or not somebody waits for a message."""
        self.stopped = True
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()


def both_stream(
    method: StreamMethod, request_class: type[Message], stopping: Stopping, max_stream_s: float
) -> Step:
    """Run a method that reads a stream and writes one. When the server stops, or the stream is `max_stream_s`
    old, the method sees its requests end: it answers what it has, and the caller is told to come back.

    The answers are written one after another: while the caller doesn't read, the method isn't asked for more.
    """

    async def run(_receiver: Any, call: Call) -> bytes:
        requests = Requests(call, request_class)
        timer = asyncio.get_running_loop().call_later(max_stream_s, requests.stop)
        try:
            with stopping.telling(requests.stop):
                await _write_all(method(requests, call), call)
        finally:
            timer.cancel()
        if requests.stopped:
            raise _ended(stopping, max_stream_s)
        return b""

    return run


def answers_stream(
    method: StreamMethod, request_class: type[Message], stopping: Stopping, max_stream_s: float
) -> Step:
    """Run a method that answers one request by a stream. It is closed where it stands when the server stops,
    or after `max_stream_s`, and the caller is told to come back."""
    parse, name = request_class.FromString, request_class.DESCRIPTOR.full_name

    async def run(request: bytes, call: Call) -> bytes:
        try:
            message = parse(request)
        except DecodeError as error:
            raise InvalidRequest(f"the request's bytes are no {name}") from error
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max_stream_s) as scope:

                def end() -> None:
                    if not scope.expired():
                        scope.reschedule(loop.time())

                with stopping.telling(end):
                    await _write_all(method(message, call), call)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise _ended(stopping, max_stream_s) from error
        return b""

    return run


async def _write_all(responses: AsyncGenerator[Message | bytes, None], call: Call) -> None:
    async with aclosing(responses):
        async for response in responses:
            await call.write(wire_bytes(response))


def _ended(stopping: Stopping, max_stream_s: float) -> Unavailable:
    why = "the server is stopping" if stopping.begun else f"the stream is {max_stream_s:g} s old"
    return Unavailable(f"{why}: {_OVER}")
