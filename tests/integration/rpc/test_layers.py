"""What a caller sees when a servicer's method fails, hangs or is cancelled, over a real loopback server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from forebay._status import DETAILS_KEY, error_of
from forebay.deadline import NEVER
from forebay.errors import (
    KINDS,
    DeadlineExceeded,
    Error,
    Internal,
    InvalidRequest,
    NotFound,
    Unimplemented,
)
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse, Provenance

from runtime.recent import RecentRequests, RequestRecord
from runtime.rpc.call import LONGEST_CALLER, Call
from runtime.rpc.layers import parsed, takes_bytes
from runtime.settings import ServerSettings
from tests.support.echo_services import PREDICTION, Predict, ScriptedPrediction, serving

PATH = "/forebay.v1.PredictionService/Predict"
LONG_S = 20.0


class NoticedRequests(RecentRequests):
    """A ring that tells when a request has ended."""

    def __init__(self) -> None:
        super().__init__(4)
        self.ended = asyncio.Event()

    def append(self, record: RequestRecord) -> None:
        super().append(record)
        self.ended.set()


async def outcome(answer: Awaitable[Any]) -> Error:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    error = caught.value
    return error_of(error.code(), error.details(), error.trailing_metadata())


async def fails_with(
    predict: Predict, timeout_s: float | None = LONG_S, settings: ServerSettings | None = None
) -> Error:
    """The error that a call of this method ends with."""
    async with (
        serving((PREDICTION, ScriptedPrediction(predict)), settings=settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        return await outcome(channel.unary_unary(PATH)(b"", timeout=timeout_s))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_kind_arrives_when_a_method_raises_it(kind: type[Error]) -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        raise kind("pipeline fraud has no model", field="pipeline", pipeline="fraud")

    error = await fails_with(predict)
    assert type(error) is kind
    assert (error.message, error.field) == ("pipeline fraud has no model", "pipeline")
    assert error.metadata == {"pipeline": "fraud"}


async def test_kind_arrives_when_a_task_group_wraps_it() -> None:
    async def missing() -> None:
        raise NotFound("no view taste")

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        async with asyncio.TaskGroup() as group:
            group.create_task(missing())
        return PredictResponse()

    assert type(await fails_with(predict)) is NotFound


async def test_nothing_leaks_but_an_id_when_a_method_has_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        raise ValueError("the caller's secret 4711")

    with caplog.at_level(logging.ERROR):
        error = await fails_with(predict)
    assert type(error) is Internal
    assert "4711" not in error.message
    (entry,) = [record for record in caplog.records if record.name == "runtime.rpc.layers"]
    assert error.metadata["id"] in error.message
    assert error.metadata["id"] in entry.getMessage()
    assert entry.exc_info is not None
    assert isinstance(entry.exc_info[1], ValueError)


async def test_answer_comes_at_once_when_something_awaited_was_cancelled() -> None:
    """Without a status the caller would wait for its own deadline (grpc#29248)."""

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        shared = asyncio.get_running_loop().create_future()
        shared.cancel()
        return await shared

    started_s = asyncio.get_running_loop().time()
    assert type(await fails_with(predict)) is Internal
    assert asyncio.get_running_loop().time() - started_s < LONG_S / 2


async def test_method_is_cancelled_when_the_caller_hangs_up() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return PredictResponse()

    recent = NoticedRequests()
    async with (
        serving((PREDICTION, ScriptedPrediction(predict)), recent=recent) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = channel.unary_unary(PATH)(b"", timeout=LONG_S)
        await started.wait()
        call.cancel()
        await asyncio.wait_for(ended.wait(), LONG_S)
        await recent.ended.wait()
    assert recent.latest(1)[0].status == "CANCELLED"


async def test_method_is_cancelled_when_the_callers_deadline_passes() -> None:
    ended = asyncio.Event()

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return PredictResponse()

    recent = NoticedRequests()
    async with (
        serving((PREDICTION, ScriptedPrediction(predict)), recent=recent) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        error = await outcome(channel.unary_unary(PATH)(b"", timeout=0.1))
        await asyncio.wait_for(ended.wait(), LONG_S)
        await recent.ended.wait()
    assert type(error) is DeadlineExceeded
    assert recent.latest(1)[0].status == "DEADLINE_EXCEEDED"
    assert 0 < recent.latest(1)[0].given_us <= 101_000


async def answers_nothing(request: PredictRequest, call: Call) -> PredictResponse:
    return PredictResponse()


@pytest.mark.parametrize("timeout_s", [None, LONG_S])
async def test_call_ends_at_the_servers_limit_when_its_caller_allows_more(timeout_s: float | None) -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        await asyncio.Event().wait()
        return PredictResponse()

    error = await fails_with(predict, timeout_s, ServerSettings(max_timeout_s=0.05))
    assert type(error) is DeadlineExceeded
    assert "0.05 s" in error.message


async def test_timeout_of_something_awaited_is_a_bug_when_the_deadline_is_far() -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        raise TimeoutError

    assert type(await fails_with(predict, None)) is Internal


async def test_request_is_invalid_when_its_bytes_are_garbage() -> None:
    async with (
        serving((PREDICTION, ScriptedPrediction(answers_nothing))) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        error = await outcome(channel.unary_unary(PATH)(b"\xff\xff\xff", timeout=LONG_S))
    assert type(error) is InvalidRequest
    assert "forebay.v1.PredictRequest" in error.message


async def test_request_is_invalid_when_it_is_above_the_size_limit() -> None:
    settings = ServerSettings(max_receive_bytes=1000)
    async with (
        serving((PREDICTION, ScriptedPrediction(answers_nothing)), settings=settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        error = await outcome(channel.unary_unary(PATH)(bytes(2000), timeout=LONG_S))
    assert type(error) is InvalidRequest


@pytest.mark.parametrize("path", ["/forebay.v1.PredictionService/GetPrediction", "/other.Service/Method"])
async def test_method_is_unimplemented_with_details_when_no_servicer_has_it(path: str) -> None:
    async with (
        serving((PREDICTION, ScriptedPrediction(answers_nothing))) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", timeout=LONG_S)
        stream = channel.stream_stream("/forebay.v1.PredictionService/StreamPredict")(timeout=LONG_S)
        error = await outcome(stream.read())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert DETAILS_KEY in (caught.value.trailing_metadata() or {})
    assert type(error) is Unimplemented


async def test_callers_name_is_cut_when_it_is_too_long_to_be_remembered() -> None:
    names: list[str] = []

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        names.append(call.caller)
        return PredictResponse()

    async with (
        serving((PREDICTION, ScriptedPrediction(predict))) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        metadata = (("forebay-caller", 4000 * "x"),)
        await channel.unary_unary(PATH)(b"", timeout=LONG_S, metadata=metadata)
    assert names == [LONGEST_CALLER * "x"]


async def test_call_knows_its_caller_and_its_trace_when_metadata_says() -> None:
    seen: list[Call] = []

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        seen.append(call)
        assert (call.caller, call.criticality) == ("shop", "critical")
        assert call.trace_id == "0af7651916cd43dd8448eb211c80319c"
        assert call.parent_span_id == "b7ad6b7169203331"
        assert call.sampled
        call.set_trailing("forebay-release", "7")
        return PredictResponse()

    metadata = (
        ("forebay-caller", "shop"),
        ("forebay-criticality", "critical"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )
    async with (
        serving((PREDICTION, ScriptedPrediction(predict))) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = channel.unary_unary(PATH)(b"", timeout=LONG_S, metadata=metadata)
        await call
        assert (await call.trailing_metadata() or {})["forebay-release"] == "7"
    # gRPC rounds timeouts up to three digits on the wire.
    assert 0 < seen[0].deadline.at_s - seen[0].started_s <= LONG_S * 1.01
    assert seen[0].method == "forebay.v1.PredictionService/Predict"


async def test_call_has_defaults_when_metadata_says_nothing_useful() -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        assert call.deadline is NEVER
        assert (call.caller, call.criticality, call.parent_span_id) == ("", "default", "")
        assert not call.sampled
        assert len(call.trace_id) == 32
        assert call.trace_id == call.trace_id
        assert len(call.span_id) == 16
        return PredictResponse()

    metadata = (("forebay-criticality", "urgent"), ("traceparent", "00-" + "0" * 32 + "-b7ad6b7169203331-01"))
    async with (
        serving((PREDICTION, ScriptedPrediction(predict))) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        await channel.unary_unary(PATH)(b"", metadata=metadata)


async def test_request_is_in_the_ring_when_it_has_ended() -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        call.pipeline = request.pipeline
        call.answer = PredictResponse(provenance=Provenance(prediction_id="p1", trace_id=call.trace_id))
        if request.pipeline == "bad":
            raise NotFound("no pipeline bad")
        return call.answer

    recent = RecentRequests(4)
    async with (
        serving((PREDICTION, ScriptedPrediction(predict)), recent=recent) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        method = channel.unary_unary(PATH)
        await method(PredictRequest(pipeline="good").SerializeToString(), timeout=LONG_S)
        await outcome(method(PredictRequest(pipeline="bad").SerializeToString()))
    bad, good = recent.latest(10)
    assert (good.pipeline, good.status, bad.status) == ("good", "OK", "NOT_FOUND")
    assert good.given_us > 0
    assert bad.given_us == 0
    assert good.trace_id == good.provenance.trace_id
    assert good.duration_us > 0


async def test_bytes_go_out_as_they_are_when_a_method_returns_bytes() -> None:
    answer = PredictResponse(provenance=Provenance(prediction_id="kept"))

    async def predict(request: PredictRequest, call: Call) -> bytes:
        return answer.SerializeToString()

    async with (
        serving((PREDICTION, ScriptedPrediction(predict))) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        raw = await channel.unary_unary(PATH)(b"")
    assert PredictResponse.FromString(raw) == answer


async def test_garbage_is_the_callers_error_when_a_method_takes_bytes() -> None:
    class Bytes:
        @takes_bytes
        async def Predict(self, request: bytes, call: Call) -> PredictResponse:  # noqa: N802
            assert isinstance(request, bytes)
            return PredictResponse(provenance=Provenance(model=parsed(PredictRequest, request).pipeline))

    async with (
        serving((PREDICTION, Bytes())) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        method = channel.unary_unary(PATH)
        raw = await method(PredictRequest(pipeline="home").SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method(b"\xff\xff\xff")
    assert PredictResponse.FromString(raw).provenance.model == "home"
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_servicer_is_refused_when_it_has_a_method_that_its_service_lacks() -> None:
    class Mistyped:
        async def Predcit(self, request: Any, call: Call) -> Any: ...  # noqa: N802

    class Streaming:
        async def StreamPredict(self, request: Any, call: Call) -> Any: ...  # noqa: N802

    async def add(servicer: object) -> None:
        async with serving((PREDICTION, servicer)):
            pass

    for servicer in (Mistyped(), Streaming()):
        with pytest.raises(TypeError, match=r"forebay\.v1\.PredictionService"):
            asyncio.run(add(servicer))
