"""A server's port from binding to drain: health, reflection, calls under way."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import Counter

import grpc
import pytest
from forebay.errors import Overloaded, Unavailable
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from runtime.clock import SystemClock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.server import RpcServer, channel_options
from runtime.settings import ServerSettings
from tests.support.echo_services import FEATURES, PREDICTION, ScriptedFeatures, ScriptedPrediction, serving

PATH = "/forebay.v1.PredictionService/Predict"
NAMES = ("", "forebay.v1.PredictionService", "forebay.v1.FeatureService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Gated:
    """A prediction that ends when the test says so."""

    def __init__(self) -> None:
        self.started, self.gate = asyncio.Event(), asyncio.Event()
        self.servicer = ScriptedPrediction(self._predict)

    async def _predict(self, request: PredictRequest, call: Call) -> PredictResponse:
        self.started.set()
        await self.gate.wait()
        return PredictResponse()


def new_server(
    settings: ServerSettings, address: str = "127.0.0.1:0", gated: Gated | None = None
) -> RpcServer:
    server = RpcServer(address, settings, SystemClock(), RecentRequests(4))
    server.add(PREDICTION, (gated or Gated()).servicer)
    server.add(FEATURES, ScriptedFeatures())
    return server


async def statuses(channel: grpc.aio.Channel) -> list[int]:
    stub = health_pb2_grpc.HealthStub(channel)
    return [(await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in NAMES]


async def test_health_follows_what_the_process_says() -> None:
    server = new_server(ServerSettings())
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        assert await statuses(channel) == [NOT_SERVING] * 3
        await server.set_serving()
        assert await statuses(channel) == [SERVING] * 3
        await server.set_not_serving("forebay.v1.FeatureService")
        assert await statuses(channel) == [SERVING, SERVING, NOT_SERVING]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await server.aclose()


async def test_reflection_describes_the_services_when_a_generic_client_asks() -> None:
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="forebay.v1.PredictionService"),
    ]
    async with (
        serving((PREDICTION, Gated().servicer)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        names, files = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    listed = {service.name for service in names.list_services_response.service}
    assert {"forebay.v1.PredictionService", "grpc.health.v1.Health"} <= listed
    assert files.file_descriptor_response.file_descriptor_proto


async def test_address_in_use_is_unavailable_and_says_why() -> None:
    async with serving() as address:
        with pytest.raises(Unavailable, match=r"can't bind .*address already in use"):
            await new_server(ServerSettings(), address).start()


async def test_port_is_shared_when_both_processes_ask_for_it() -> None:
    first = RpcServer("127.0.0.1:0", ServerSettings(), SystemClock(), RecentRequests(1), shares_port=True)
    address = await first.start()
    second = RpcServer(address, ServerSettings(), SystemClock(), RecentRequests(1), shares_port=True)
    assert await second.start() == address
    await first.aclose()
    await second.aclose()


async def test_call_under_way_ends_when_the_server_drains() -> None:
    gated = Gated()
    server = new_server(ServerSettings(drain_wait_s=0.05, drain_grace_s=20), gated=gated)
    address = await server.start()
    await server.set_serving()
    async with grpc.aio.insecure_channel(address) as channel, grpc.aio.insecure_channel(address) as late:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        call = channel.unary_unary(PATH)(b"", timeout=20)
        await gated.started.wait()
        drain = asyncio.create_task(server.drain())
        assert (await watch.read()).status == NOT_SERVING
        await server.set_serving()
        watch.cancel()
        while True:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await late.unary_unary(PATH)(b"", timeout=0.1)
            if caught.value.code() is grpc.StatusCode.UNAVAILABLE:
                break
        assert not drain.done()
        gated.gate.set()
        assert await call == b""
        await drain


async def test_call_is_cut_when_it_outlasts_the_grace() -> None:
    gated = Gated()
    server = new_server(ServerSettings(drain_grace_s=0.05), gated=gated)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(PATH)(b"", timeout=20)
        await gated.started.wait()
        await server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_connection_limits_follow_the_settings() -> None:
    options = dict(channel_options(ServerSettings(max_connection_age_s=1.5, max_receive_bytes=7), False))
    assert options["grpc.max_connection_age_ms"] == 1500
    assert options["grpc.max_receive_message_length"] == 7
    assert options["grpc.so_reuseport"] == 0


async def test_calls_beyond_the_limit_on_streams_wait_in_the_client() -> None:
    """gRPC's own protection against overload would fail most of them, though the client keeps to it."""
    under_way, most = 0, 0

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return PredictResponse()

    settings = ServerSettings(max_concurrent_streams=20)
    async with (
        serving((PREDICTION, ScriptedPrediction(predict)), settings=settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        ask = channel.unary_unary(PATH, PredictRequest.SerializeToString, PredictResponse.FromString)
        await asyncio.gather(*[ask(PredictRequest(), timeout=10.0) for _ in range(400)])
    assert 1 < most <= 20


async def test_calls_that_pile_up_before_the_process_are_refused_at_once_past_a_bound() -> None:
    """The loop takes nothing in meanwhile: gRPC ends them without it."""
    busy, free = threading.Event(), threading.Event()

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        busy.set()
        assert free.wait(30.0)
        return PredictResponse()

    def flood(address: str) -> list[grpc.StatusCode]:
        with grpc.insecure_channel(address) as channel:
            ask = channel.unary_unary(PATH)
            first = ask.future(b"", timeout=60.0)
            assert busy.wait(30.0)
            others = [ask.future(b"", timeout=60.0) for _ in range(200)]
            ended = queue.SimpleQueue[None]()
            for other in others:
                other.add_done_callback(lambda _: ended.put(None))
            for _ in range(200 - 25 - 2):  # the bound; one that was taken in, and one on its way
                ended.get(timeout=30.0)
            free.set()
            return [first.code(), *[other.code() for other in others]]

    settings = ServerSettings(max_concurrent_streams=1000, max_pending_calls=20)
    async with serving((PREDICTION, ScriptedPrediction(predict)), settings=settings) as address:
        codes = Counter(await asyncio.to_thread(flood, address))
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}  # so gRPC tells it
    assert 21 <= codes[grpc.StatusCode.OK] <= 28


async def test_a_caller_is_charged_before_its_request_is_looked_at() -> None:
    charged: list[str] = []

    def charge(caller: str) -> None:
        charged.append(caller)
        if caller == "nightly":
            raise Overloaded("nightly has had its share", retry_after_s=30.0)

    server = RpcServer("127.0.0.1:0", ServerSettings(), SystemClock(), RecentRequests(4), charge=charge)
    scripted = ScriptedPrediction(answered)
    server.add(PREDICTION, scripted)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        ask = channel.unary_unary(PATH)
        await ask(b"", timeout=5.0, metadata=(("forebay-caller", "web"),))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(b"no message at all", timeout=5.0, metadata=(("forebay-caller", "nightly"),))
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await server.aclose()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(refused.value.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "-1"
    assert charged == ["web", "nightly"]
    assert len(scripted.requests) == 1


async def answered(request: PredictRequest, call: Call) -> PredictResponse:
    return PredictResponse()
