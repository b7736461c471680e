"""What happens around every servicer method: telemetry, errors, deadline, and bytes to messages and back.
Each layer wraps the next once, when a service is registered (`service.py`): a call costs plain coroutines."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Protocol, TypeVar

import grpc
from forebay.deadline import Deadline
from forebay.errors import (
    DeadlineExceeded,
    Error,
    Internal,
    InvalidRequest,
    Overloaded,
    Unavailable,
    Unimplemented,
)
from google.protobuf.message import DecodeError, Message

from runtime.clock import Clock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call, Context
from runtime.rpc.status import code_of, message_of, trailers_of
from runtime.rpc.stopping import Stopping
from runtime.rpc.traffic import Traffic

logger = logging.getLogger(__name__)

Handler = Callable[[Any, Context], Awaitable[bytes]]
"""What gRPC calls, with the request's bytes (or the stream of them)."""

Step = Callable[[Any, Call], Awaitable[bytes]]
"""A layer, or the method itself: a request's bytes in, the response's bytes out. A method that streams reads
and writes through the call; what its step returns goes nowhere."""


M = TypeVar("M", bound=Callable[..., Any])
MessageT = TypeVar("MessageT", bound=Message)

_TAKES_BYTES = "takes_bytes"


class Method(Protocol):
    """A servicer's method of one request and one response: a message, or its bytes."""

    async def __call__(self, request: Any, call: Call, /) -> Message | bytes: ...


def telemetry(step: Step, method: str, clock: Clock, recent: RecentRequests, traffic: Traffic) -> Handler:
    """The outermost layer: makes the `Call`, and keeps how it went once everything inside has had its say."""

    async def handle(request: Any, context: Context) -> bytes:
        traffic.take(context)
        call = Call(method, context, clock.monotonic_s(), clock.now_us())
        try:
            return await step(request, call)
        finally:
            recent.append(call.record(clock.monotonic_s()))

    return handle


def errors(step: Step, stopping: Stopping) -> Step:
    """Turn whatever is raised inside into a status: an `Error` by the table, anything else into `Internal`
    with an opaque id that the log repeats. Nothing of an unknown exception reaches the caller.

    Cancellation: gRPC cancels the handler's task when the caller hangs up, its deadline passes, or the server
    stops; that passes, for nobody waits for an answer. A CancelledError that nobody asked this task for came
    out of something it awaited; left alone, gRPC would send nothing and the caller would wait for its own
    deadline (grpc#29248). So it becomes a status like any other bug.

    A call that comes when the server is stopping is refused here, before any work.
    """

    async def translate(request: Any, call: Call) -> bytes:
        try:
            if stopping.begun:
                raise Unavailable("the server is stopping; nothing was begun")
            return await step(request, call)
        except Error as error:
            return _fail(call, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                gone = call.time_remaining_s() == 0
                call.status = grpc.StatusCode.DEADLINE_EXCEEDED if gone else grpc.StatusCode.CANCELLED
                raise
            return _fail(call, told(error, call))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
            return _fail(call, told(error, call))

    return translate


def deadline(step: Step, max_timeout_s: float, clock: Clock | None = None) -> Step:
    """Give the call its deadline as an instant, and start nothing that is late already: gRPC doesn't check.
    With a clock, give no answer that is late either: after its deadline (the servicer's, where it set an
    earlier one) a call ends with DEADLINE_EXCEEDED, whatever is ready.

    A caller's own deadline is enforced by gRPC, which cancels the handler. One that lies too far off, or is
    missing, is enforced here at `max_timeout_s`.
    """

    async def limit(request: Any, call: Call) -> bytes:
        remaining_s = call.time_remaining_s()
        if remaining_s is None:
            return await bounded(request, call)
        if remaining_s <= 0:
            raise DeadlineExceeded("the deadline had passed when the call arrived")
        call.deadline = Deadline(call.started_s + min(remaining_s, max_timeout_s))
        answer = await (step(request, call) if remaining_s <= max_timeout_s else bounded(request, call))
        if clock is not None and clock.monotonic_s() > call.deadline.at_s:
            raise DeadlineExceeded("the answer was ready after the deadline")
        return answer

    async def bounded(request: Any, call: Call) -> bytes:
        try:
            async with asyncio.timeout(max_timeout_s) as scope:
                return await step(request, call)
        except TimeoutError as error:
            if not scope.expired():
                raise
            message = f"no answer within {max_timeout_s:g} s, this server's limit for any call"
            raise DeadlineExceeded(message) from error

    return limit


def charged(step: Step, charge: Callable[[str], None]) -> Step:
    """Charge the caller, by name, for its call before anything is done for it; `charge` may raise an `Error`.
    A stream is one call, whatever is sent on it."""

    async def pay(request: Any, call: Call) -> bytes:
        charge(call.caller)
        return await step(request, call)

    return pay


def codec(method: Method, request_class: type[Message]) -> Step:
    """Run the servicer's method on messages; on bytes, where it is marked by `takes_bytes`."""

    async def run(request: bytes, call: Call) -> bytes:
        return wire_bytes(await method(parsed(request_class, request), call))

    async def run_on_bytes(request: bytes, call: Call) -> bytes:
        return wire_bytes(await method(request, call))

    return run_on_bytes if getattr(method, _TAKES_BYTES, False) else run


def takes_bytes(method: M) -> M:
    """Mark a servicer's method whose request comes as the wire's bytes: for one that can often answer without
    looking into them. It parses them by `parsed`."""
    setattr(method, _TAKES_BYTES, True)
    return method


def parsed(request_class: type[MessageT], request: bytes) -> MessageT:
    """Return a request's bytes as its message.

    Raises: InvalidRequest: garbage is the caller's error, no bug.
    """
    try:
        return request_class.FromString(request)
    except DecodeError as error:
        raise InvalidRequest(f"the request's bytes are no {request_class.DESCRIPTOR.full_name}") from error


def wire_bytes(response: Message | bytes) -> bytes:
    """Return a response as it goes out; a servicer may have its bytes already."""
    return response if isinstance(response, bytes) else response.SerializeToString()


def unimplemented(method: str) -> Step:
    """A method that this server doesn't have."""

    async def refuse(_request: Any, _call: Call) -> bytes:
        raise Unimplemented(f"this server doesn't implement {method}")

    return refuse


def told(error: BaseException, call: Call) -> Error:
    """Return what a caller is told of an exception: itself, where it is an `Error` or a group around a single
    one; otherwise `Internal` with an id that the log repeats."""
    return _alone(error) or _internal(call, error)


def _fail(call: Call, error: Error) -> bytes:
    """Make the call end as the error's kind says. A caller is not told to come back after its own deadline:
    gRPC would hold the call until then, and report the deadline instead of the reason."""
    remaining_s = call.time_remaining_s() if isinstance(error, Overloaded) else None
    trailers = trailers_of(error, inf if remaining_s is None else remaining_s)
    call.finish_with(code_of(error), message_of(error), trailers)
    return b""


def _alone(error: BaseException) -> Error | None:
    """The `Error` inside the groups that TaskGroups wrap a single failure in."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, Error) else None


def _internal(call: Call, error: BaseException) -> Internal:
    identity = secrets.token_hex(8)
    logger.error("internal error %s in %s", identity, call.method, exc_info=error)
    return Internal(f"internal error {identity}", id=identity)
