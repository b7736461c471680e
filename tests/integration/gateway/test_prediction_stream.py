"""StreamPredict's own rules over a real loopback server, with predictions that end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from forebay._status import DETAILS_KEY, error_of
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, Internal, InvalidRequest, NotFound, Overloaded
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse, Provenance
from forebay.v1.prediction_pb2 import StreamPredictRequest as Ask
from forebay.v1.prediction_pb2 import StreamPredictResponse as Answer

from gateway.servicers.prediction_stream import PredictionStream, StreamLimits
from runtime.clock import SystemClock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.server import RpcServer
from runtime.settings import ServerSettings
from tests.support.echo_services import PREDICTION

METHOD = "forebay.v1.PredictionService/StreamPredict"
LONG_S = 20.0


def response(request: PredictRequest) -> bytes:
    return PredictResponse(provenance=Provenance(prediction_id=request.pipeline)).SerializeToString()


class Gated:
    """Predictions that wait for their pipeline's gate: each test opens what it wants answered."""

    def __init__(self, limits: StreamLimits) -> None:
        self.recent = RecentRequests(64)
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []
        self.calls: list[Call] = []
        self.under_way = 0
        self._limits = limits
        self._changed = asyncio.Condition()

    async def StreamPredict(self, requests: Any, call: Call) -> AsyncIterator[bytes]:  # noqa: N802
        stream = PredictionStream(self._predict, call, self._limits, SystemClock(), self.recent)
        async with aclosing(stream.answers(requests)) as answers:
            async for answer in answers:
                yield answer

    def open(self, pipeline: str) -> None:
        self.gates.setdefault(pipeline, asyncio.Event()).set()

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(LONG_S), self._changed:
            await self._changed.wait_for(lambda: len(self.begun) >= count)

    async def until_idle(self) -> None:
        async with asyncio.timeout(LONG_S), self._changed:
            await self._changed.wait_for(lambda: self.under_way == 0)

    async def _predict(self, request: PredictRequest, call: Call, latest: Deadline) -> bytes:
        call.pipeline = request.pipeline
        call.deadline = call.deadline.earliest(latest)
        self.calls.append(call)
        await self._note(request.pipeline, 1)
        try:
            await self.gates.setdefault(request.pipeline, asyncio.Event()).wait()
        finally:
            await self._note("", -1)
        return response(request)

    async def _note(self, begun: str, change: int) -> None:
        self.under_way += change
        if begun:
            self.begun.append(begun)
        async with self._changed:
            self._changed.notify_all()


class Scripted(Gated):
    """Predictions that end at once as their pipeline's name says."""

    async def _predict(self, request: PredictRequest, call: Call, latest: Deadline) -> bytes:
        if request.pipeline == "missing":
            raise NotFound("no pipeline missing", field="pipeline")
        if request.pipeline == "busy":
            raise Overloaded("too many requests", retry_after_s=0.25)
        if request.pipeline == "bug":
            raise ValueError("secret 4711")
        if request.pipeline == "torn":
            torn: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            torn.cancel()
            return await torn
        return response(request)


class Stream:
    """A caller's end."""

    def __init__(self, channel: grpc.aio.Channel, **options: Any) -> None:
        self.call = channel.stream_stream(f"/{METHOD}")(**({"timeout": LONG_S} | options))

    async def ask(self, *messages: Ask) -> None:
        for message in messages:
            await self.call.write(message.SerializeToString())

    async def answer(self) -> Answer:
        return Answer.FromString(await asyncio.wait_for(self.call.read(), LONG_S))

    async def answers(self) -> list[Answer]:
        """Send nothing more; return what still comes, and require a good end."""
        await self.call.done_writing()
        found = []
        while (raw := await self.call.read()) is not grpc.aio.EOF:
            found.append(Answer.FromString(raw))
        assert await self.call.code() is grpc.StatusCode.OK
        return found


def ask(identity: str, pipeline: str = "a", timeout_us: int = 0) -> Ask:
    return Ask(request_id=identity, request=PredictRequest(pipeline=pipeline), timeout_us=timeout_us)


def error(answer: Answer) -> Error:
    assert not answer.HasField("response")
    code = next(code for code in grpc.StatusCode if code.value[0] == answer.error.code)
    return error_of(code, answer.error.message, [(DETAILS_KEY, answer.error.SerializeToString())])


@asynccontextmanager
async def serving(
    kind: type[Gated] = Gated,
    messages: int = 8,
    max_timeout_s: float = LONG_S,
    charge: Callable[[str], None] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Gated, RpcServer, grpc.aio.Channel]]:
    servicer = kind(StreamLimits(messages, max_timeout_s, charge))
    server = RpcServer("127.0.0.1:0", ServerSettings(**settings), SystemClock(), servicer.recent)
    server.add(PREDICTION, servicer)
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield servicer, server, channel
    finally:
        await server.aclose()


async def test_answers_come_in_the_order_in_which_they_end() -> None:
    async with serving() as (servicer, _, channel):
        stream = Stream(channel)
        await stream.ask(ask("1", "slow"), ask("2", "quick"), ask("3", "slow"))
        await servicer.until_begun(3)
        servicer.open("quick")
        first = await stream.answer()
        assert (first.request_id, first.response.provenance.prediction_id) == ("2", "quick")
        servicer.open("slow")
        assert [answer.request_id for answer in await stream.answers()] == ["1", "3"]


async def test_each_message_and_the_stream_are_in_the_ring_when_they_have_ended() -> None:
    async with serving(Scripted) as (servicer, _, channel):
        stream = Stream(channel, metadata=(("forebay-caller", "shop"),))
        await stream.ask(ask("1", "good", timeout_us=70_000), ask("2", "missing"))
        await stream.answers()
    records = sorted((record.method, record.status) for record in servicer.recent.latest(10))
    assert records == [(METHOD, "OK"), (f"{METHOD}.message", "NOT_FOUND"), (f"{METHOD}.message", "OK")]


async def test_message_has_the_streams_metadata_and_its_own_deadline() -> None:
    metadata = (
        ("forebay-caller", "shop"),
        ("forebay-criticality", "critical"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    async with serving() as (servicer, _, channel):
        servicer.open("a")
        stream = Stream(channel, metadata=metadata)
        await stream.ask(ask("1", timeout_us=50_000), ask("2", timeout_us=3_600_000_000), ask("3"))
        await stream.answers()
    own, capped, none = servicer.calls
    assert (own.caller, own.criticality) == ("shop", "critical")
    assert own.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert own.span_id != capped.span_id
    assert own.deadline.at_s - own.started_s == pytest.approx(0.05)
    for call in (capped, none):
        assert 0 < call.deadline.at_s - call.started_s <= LONG_S * 1.01


async def test_message_has_a_trace_of_its_own_when_the_caller_sends_none() -> None:
    async with serving() as (servicer, _, channel):
        servicer.open("a")
        stream = Stream(channel)
        await stream.ask(ask("1"), ask("2"))
        await stream.answers()
    assert len({call.trace_id for call in servicer.calls}) == 2


async def test_only_its_message_fails_when_a_prediction_does(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Scripted) as (_, _, channel):
        stream = Stream(channel)
        for number, pipeline in enumerate(["missing", "busy", "bug", "torn", "good"]):
            await stream.ask(ask(str(number), pipeline))
        missing, busy, bug, torn, good = sorted(await stream.answers(), key=lambda answer: answer.request_id)
    assert isinstance(error(missing), NotFound)
    assert error(missing).field == "pipeline"
    overloaded = error(busy)
    assert isinstance(overloaded, Overloaded)
    assert overloaded.retry_after_s == 0.25
    for answer in (bug, torn):
        assert isinstance(error(answer), Internal)
        assert error(answer).metadata["id"] in caplog.text
        assert "4711" not in error(answer).message
    assert good.response.provenance.prediction_id == "good"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [(ask(""), "request_id"), (ask("1"), "request_id"), (ask("9", timeout_us=-1), "timeout_us")],
    ids=["empty id", "id under way", "negative timeout"],
)
async def test_message_is_invalid_and_the_stream_goes_on(wrong: Ask, field: str) -> None:
    async with serving() as (servicer, _, channel):
        stream = Stream(channel)
        await stream.ask(ask("1"), wrong)
        refused = await stream.answer()
        assert refused.request_id == wrong.request_id
        assert isinstance(error(refused), InvalidRequest)
        assert error(refused).field == field
        servicer.open("a")
        assert (await stream.answer()).HasField("response")
        await stream.ask(ask("1"))
        (again,) = await stream.answers()
        assert again.HasField("response")


async def test_stream_ends_as_invalid_when_a_message_is_garbage_and_what_is_under_way_is_answered() -> None:
    async with serving() as (servicer, _, channel):
        stream = Stream(channel)
        await stream.ask(ask("1"))
        await stream.call.write(b"\xff\xff")
        await servicer.until_begun(1)
        servicer.open("a")
        assert (await stream.answer()).request_id == "1"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.answer()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_message_is_refused_when_its_caller_has_used_its_quota() -> None:
    left = ["one", "two"]

    def charge(caller: str) -> None:
        assert caller == "shop"
        if not left:
            raise Overloaded("caller shop is over its quota", retry_after_s=1.0)
        left.pop()

    async with serving(Scripted, charge=charge) as (_, _, channel):
        stream = Stream(channel, metadata=(("forebay-caller", "shop"),))
        await stream.ask(*(ask(str(number)) for number in range(4)))
        answers = await stream.answers()
    refused = [answer.request_id for answer in answers if answer.HasField("error")]
    assert refused == ["2", "3"]


async def test_message_that_hangs_fails_at_its_own_deadline() -> None:
    async with serving() as (servicer, _, channel):
        stream = Stream(channel)
        await stream.ask(ask("late", "hangs", timeout_us=30_000), ask("later", "hangs", timeout_us=60_000))
        await stream.ask(ask("patient", "patient"))
        late, later = await stream.answer(), await stream.answer()
        assert (late.request_id, later.request_id) == ("late", "later")
        assert isinstance(error(late), DeadlineExceeded)
        assert isinstance(error(later), DeadlineExceeded)
        servicer.open("patient")
        (patient,) = await stream.answers()
        assert patient.HasField("response")


async def test_message_that_hangs_fails_at_the_servers_limit_when_it_gives_none() -> None:
    async with serving(max_timeout_s=0.05) as (_, _, channel):
        stream = Stream(channel, timeout=None)
        await stream.ask(ask("1", "hangs"))
        assert isinstance(error(await stream.answer()), DeadlineExceeded)


async def test_no_more_is_read_than_the_limit_while_nothing_is_answered_or_nobody_reads() -> None:
    async with serving(messages=4) as (servicer, _, channel):
        stream = Stream(channel)
        await stream.ask(*(ask(str(number)) for number in range(12)))
        await servicer.until_begun(4)
        await asyncio.sleep(0.05)
        assert len(servicer.begun) == 4
        servicer.open("a")
        assert {answer.request_id for answer in await stream.answers()} == {str(n) for n in range(12)}


async def test_everything_under_way_is_cancelled_when_the_caller_hangs_up() -> None:
    before = asyncio.all_tasks()
    async with serving() as (servicer, server, channel):
        stream = Stream(channel)
        await stream.ask(ask("1"), ask("2"), ask("3", "b"))
        await servicer.until_begun(3)
        servicer.open("b")
        assert (await stream.answer()).request_id == "3"
        stream.call.cancel()
        await servicer.until_idle()
        await server.drain()
    statuses = [record.status for record in servicer.recent.latest(10)]
    assert sorted(statuses) == ["CANCELLED", "CANCELLED", "CANCELLED", "OK"]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


async def test_what_is_under_way_is_answered_when_the_server_drains() -> None:
    async with serving(drain_grace_s=LONG_S) as (servicer, server, channel):
        stream, idle = Stream(channel), Stream(channel)
        await stream.ask(ask("1"), ask("2"))
        await servicer.until_begun(2)
        await idle.ask(ask("3", "open"))
        servicer.open("open")
        assert (await idle.answer()).request_id == "3"
        drain = asyncio.create_task(server.drain())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await idle.answer()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        servicer.open("a")
        answered = {(await stream.answer()).request_id for _ in range(2)}
        assert answered == {"1", "2"}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.answer()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in (caught.value.details() or "")
        await asyncio.wait_for(drain, LONG_S)
