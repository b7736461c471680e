"""What a caller of a streaming method sees when it fails, hangs, is cancelled or drained, over a real
server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from forebay._status import error_of
from forebay.errors import DeadlineExceeded, Error, Internal, InvalidRequest, NotFound, Unavailable
from forebay.v1.prediction_pb2 import (
    StreamPredictRequest,
    StreamPredictResponse,
    WatchPredictionRequest,
    WatchPredictionResponse,
)

from runtime.clock import SystemClock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.server import RpcServer
from runtime.settings import ServerSettings
from tests.support.echo_services import PREDICTION

STREAM = "/forebay.v1.PredictionService/StreamPredict"
WATCH = "/forebay.v1.PredictionService/WatchPrediction"
LONG_S = 20.0

Bidi = Callable[[Any, Call], AsyncIterator[Any]]


class Streams:
    """A servicer whose two streaming methods run what the test gives."""

    def __init__(self, bidi: Bidi) -> None:
        self._bidi = bidi

    async def StreamPredict(self, requests: Any, call: Call) -> AsyncIterator[Any]:  # noqa: N802
        async for response in self._bidi(requests, call):
            yield response

    async def WatchPrediction(self, request: Any, call: Call) -> AsyncIterator[Any]:  # noqa: N802
        async for response in self._bidi(request, call):
            yield response


class Served:
    """The server, a channel to it, and the ring of its requests."""

    def __init__(self, server: RpcServer, channel: grpc.aio.Channel, recent: RecentRequests) -> None:
        self.server, self.recent = server, recent
        self._channel = channel

    def stream(self, **options: Any) -> Any:
        return self._channel.stream_stream(STREAM)(**({"timeout": LONG_S} | options))

    def watch(self, request: bytes = b"", **options: Any) -> Any:
        return self._channel.unary_stream(WATCH)(request, **({"timeout": LONG_S} | options))


@asynccontextmanager
async def served(bidi: Bidi, **settings: Any) -> AsyncIterator[Served]:
    recent = RecentRequests(16)
    server = RpcServer("127.0.0.1:0", ServerSettings(**settings), SystemClock(), recent)
    server.add(PREDICTION, Streams(bidi))
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Served(server, channel, recent)
    finally:
        await server.aclose()


def message(identity: str) -> bytes:
    return StreamPredictRequest(request_id=identity).SerializeToString()


async def answer(stream: Any) -> str:
    """The id of the next answer."""
    return StreamPredictResponse.FromString(await stream.read()).request_id


async def end(stream: Any) -> Error | None:
    """The error that a stream ends with, None for OK; what it still answers is read first."""
    while True:
        try:
            if await stream.read() is grpc.aio.EOF:
                code = await stream.code()
                if code is grpc.StatusCode.OK:
                    return None
                return error_of(code, await stream.details(), await stream.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            return error_of(error.code(), error.details(), error.trailing_metadata())


async def echo(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
    async for request in requests:
        yield StreamPredictResponse(request_id=request.request_id)


async def hang(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
    yield StreamPredictResponse(request_id="begun")
    await asyncio.Event().wait()


async def test_messages_go_both_ways_until_the_caller_has_sent_its_last() -> None:
    async with served(echo) as there:
        stream = there.stream()
        for identity in ("a", "b"):
            await stream.write(message(identity))
            assert await answer(stream) == identity
        await stream.done_writing()
        assert await end(stream) is None
    (record,) = there.recent.latest(10)
    assert (record.method, record.status) == ("forebay.v1.PredictionService/StreamPredict", "OK")
    assert 0 < record.given_us <= LONG_S * 1.01e6


async def test_answers_to_one_request_stream_as_messages_or_as_bytes() -> None:
    async def watch(request: Any, call: Call) -> AsyncIterator[Any]:
        first, second = request.prediction_ids
        yield WatchPredictionResponse(prediction_id=first)
        yield WatchPredictionResponse(prediction_id=second).SerializeToString()

    request = WatchPredictionRequest(prediction_ids=["p1", "p2"]).SerializeToString()
    async with served(watch) as there:
        read = [WatchPredictionResponse.FromString(raw) async for raw in there.watch(request)]
    assert [one.prediction_id for one in read] == ["p1", "p2"]


@pytest.mark.parametrize("before", [0, 1])
async def test_kind_arrives_when_a_stream_fails_before_or_after_an_answer(before: int) -> None:
    async def fail(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        for _ in range(before):
            yield StreamPredictResponse(request_id="a")
        raise NotFound("no pipeline fraud", field="pipeline")

    async with served(fail) as there:
        for stream in (there.stream(), there.watch()):
            error = await end(stream)
            assert isinstance(error, NotFound)
            assert error.field == "pipeline"
    assert {record.status for record in there.recent.latest(10)} == {"NOT_FOUND"}


async def test_nothing_leaks_but_an_id_when_a_stream_has_a_bug() -> None:
    async def bug(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        raise ValueError("secret 4711")
        yield

    async with served(bug) as there:
        error = await end(there.stream())
    assert isinstance(error, Internal)
    assert "4711" not in error.message


async def test_stream_ends_with_invalid_request_when_a_message_is_garbage() -> None:
    async with served(echo) as there:
        stream = there.stream()
        await stream.write(message("a"))
        assert await answer(stream) == "a"
        await stream.write(b"\xff\xff")
        error = await end(stream)
        assert isinstance(error, InvalidRequest)
        assert "forebay.v1.StreamPredictRequest" in error.message
        error = await end(there.watch(b"\xff\xff"))
        assert isinstance(error, InvalidRequest)
        assert "forebay.v1.WatchPredictionRequest" in error.message


async def test_method_is_closed_when_the_caller_hangs_up() -> None:
    closed = asyncio.Event()

    async def wait(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        try:
            async for response in hang(requests, call):
                yield response
        finally:
            closed.set()

    async with served(wait) as there:
        for stream in (there.stream(), there.watch()):
            closed.clear()
            await stream.read()
            stream.cancel()
            await asyncio.wait_for(closed.wait(), LONG_S)
    assert {record.status for record in there.recent.latest(10)} == {"CANCELLED"}


async def test_stream_ends_when_the_callers_deadline_passes() -> None:
    async with served(hang) as there:
        assert isinstance(await end(there.stream(timeout=0.1)), DeadlineExceeded)
        assert isinstance(await end(there.watch(timeout=0.1)), DeadlineExceeded)


async def test_caller_waits_when_a_method_does_not_ask_for_messages() -> None:
    taken = 0
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        nonlocal taken
        async for _ in requests:
            taken += 1
            begun.set()
            await gate.wait()
        yield StreamPredictResponse(request_id=str(taken))

    big = StreamPredictRequest(request_id="x" * 500_000).SerializeToString()
    sent = 0

    async with served(slow) as there:
        stream = there.stream()

        async def send() -> None:
            nonlocal sent
            for _ in range(64):
                await stream.write(big)
                sent += 1
            await stream.done_writing()

        sending = asyncio.create_task(send())
        await begun.wait()
        await asyncio.sleep(0.1)
        assert taken == 1
        assert sent < 64
        gate.set()
        await sending
        assert await answer(stream) == "64"


@pytest.mark.parametrize("waits_for", ["message", "work"])
async def test_open_stream_answers_what_it_has_and_says_come_back_when_the_server_drains(
    waits_for: str,
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def work(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        async for request in requests:
            begun.set()
            if waits_for == "work":
                await gate.wait()
            yield StreamPredictResponse(request_id=request.request_id)

    async with served(work, drain_grace_s=LONG_S) as there:
        stream = there.stream()
        await stream.write(message("a"))
        await begun.wait()
        if waits_for == "message":
            assert await answer(stream) == "a"
        drain = asyncio.create_task(there.server.drain())
        if waits_for == "work":
            await asyncio.sleep(0.05)
            assert not drain.done()
            gate.set()
            assert await answer(stream) == "a"
        error = await end(stream)
        assert isinstance(error, Unavailable)
        assert "stopping" in error.message
        await asyncio.wait_for(drain, LONG_S)


async def test_watch_is_told_to_come_back_when_the_server_drains() -> None:
    async with served(hang, drain_grace_s=LONG_S) as there:
        stream = there.watch()
        assert await answer(stream) == "begun"
        drain = asyncio.create_task(there.server.drain())
        assert isinstance(await end(stream), Unavailable)
        await asyncio.wait_for(drain, LONG_S)


async def test_stream_is_told_to_come_back_when_it_is_old() -> None:
    async with served(echo, max_stream_s=0.1) as there:
        error = await end(there.stream())
        assert isinstance(error, Unavailable)
        assert "0.1 s old" in error.message
    async with served(hang, max_stream_s=0.1) as there:
        assert isinstance(await end(there.watch()), Unavailable)


async def test_stream_is_ended_when_it_hangs_past_its_age() -> None:
    async def deaf(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        yield StreamPredictResponse()
        await asyncio.Event().wait()

    async with served(deaf, max_stream_s=0.05, max_timeout_s=0.05) as there:
        assert isinstance(await end(there.stream(timeout=None)), DeadlineExceeded)


async def test_cancellation_passes_when_it_meets_a_stop() -> None:
    """A reader that is cancelled by its owner in the turn in which its server stops ends as cancelled."""
    readers: list[asyncio.Task[None]] = []
    outcome = asyncio.get_running_loop().create_future()

    async def both(requests: Any, call: Call) -> AsyncIterator[StreamPredictResponse]:
        async def read() -> None:
            try:
                async for _ in requests:
                    pass
            except asyncio.CancelledError:
                outcome.set_result("cancelled")
                raise
            outcome.set_result("ended")

        reader = asyncio.create_task(read())
        readers.append(reader)
        yield StreamPredictResponse(request_id="reading")
        await asyncio.wait([reader])

    async with served(both, drain_grace_s=LONG_S) as there:
        stream = there.stream()
        assert await answer(stream) == "reading"
        readers[0].cancel()
        drain = asyncio.create_task(there.server.drain())
        assert await asyncio.wait_for(outcome, LONG_S) == "cancelled"
        await end(stream)
        await drain


async def coroutine_for_a_stream(self: Any, requests: Any, call: Call) -> Any: ...


async def generator_for_a_response(self: Any, request: Any, call: Call) -> AsyncIterator[Any]:
    yield None


async def test_servicer_is_refused_when_its_method_is_of_the_wrong_kind() -> None:
    server = RpcServer("127.0.0.1:0", ServerSettings(), SystemClock(), RecentRequests(1))
    for name, member, kind in (
        ("StreamPredict", coroutine_for_a_stream, "an async generator"),
        ("Predict", generator_for_a_response, "a coroutine"),
    ):
        servicer = type("Servicer", (), {name: member})()
        with pytest.raises(TypeError, match=f"{name} must be {kind}"):
            server.add(PREDICTION, servicer)
    await server.aclose()
