"""A server that stops under load: every call that it began is answered, every other one is UNAVAILABLE."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from forebay._status import DETAILS_KEY
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.clock import SystemClock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.server import RpcServer
from runtime.settings import ServerSettings
from tests.support.echo_services import PREDICTION, ScriptedPrediction

ROOT = Path(__file__).resolve().parents[3]
PATH = "/forebay.v1.PredictionService/Predict"
LONG_S = 20.0

SERVER = """
import asyncio
from runtime.clock import SystemClock
from runtime.process import run
from runtime.recent import RecentRequests
from runtime.rpc.server import RpcServer
from runtime.settings import ServerSettings
from forebay.v1 import prediction_pb2

begun = 0

class Prediction:
    async def Predict(self, request, call):
        global begun
        begun += 1
        await asyncio.sleep(0.02)
        return prediction_pb2.PredictResponse()

async def main(stopping):
    server = RpcServer("127.0.0.1:0", ServerSettings(), SystemClock(), RecentRequests(1))
    server.add(prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"], Prediction())
    print(await server.start(), flush=True)
    await stopping.wait()
    await server.drain()
    print(begun, flush=True)
    return 0

raise SystemExit(run(main))
"""


def start() -> tuple[subprocess.Popen[str], str]:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def load(address: str, pid: int, rate_per_s: int, seconds: float, connections: int) -> Counter[str]:
    """Call at a fixed rate, SIGTERM at half time; return how the calls ended."""
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channels = [grpc.aio.insecure_channel(address, options=own) for _ in range(connections)]
    outcomes: Counter[str] = Counter()

    async def call(number: int) -> None:
        try:
            await channels[number % connections].unary_unary(PATH)(b"", timeout=LONG_S)
            outcomes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            outcomes[error.code().name] += 1
            outcomes["refused"] += DETAILS_KEY in (error.trailing_metadata() or {})

    for number in range(connections):
        await call(number)
    loop = asyncio.get_running_loop()
    started_s, count = loop.time(), round(rate_per_s * seconds)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, started_s + number / rate_per_s - loop.time()))
            if number == count // 2:
                os.kill(pid, signal.SIGTERM)
            group.create_task(call(number))
    for channel in channels:
        await channel.close()
    return outcomes


async def drained_under_load(rate_per_s: int, seconds: float, connections: int) -> Counter[str]:
    """Run a server, load it, stop it half way; check that what it began is what was answered."""
    process, address = await asyncio.to_thread(start)
    try:
        outcomes = await load(address, process.pid, rate_per_s, seconds, connections)
        begun, _ = await asyncio.to_thread(process.communicate, timeout=LONG_S)
    finally:
        process.kill()
    told = f"{rate_per_s}/s over {connections} connections: begun {begun.strip()}, {dict(outcomes)}\n"
    sys.stdout.write(told)
    assert process.returncode == 0
    assert outcomes["OK"] == int(begun)
    assert set(outcomes) <= {"OK", "UNAVAILABLE", "refused"}
    assert outcomes["OK"] > 0
    assert outcomes["UNAVAILABLE"] > 0
    return outcomes


async def test_every_call_that_was_begun_is_answered_when_the_server_stops_under_load() -> None:
    await drained_under_load(rate_per_s=300, seconds=1.0, connections=8)


@pytest.mark.slow
async def test_no_call_is_lost_over_many_stops_under_heavier_load() -> None:
    for _ in range(20):
        await drained_under_load(rate_per_s=500, seconds=1.2, connections=8)


def new_server(predict: Any) -> RpcServer:
    settings = ServerSettings(drain_grace_s=LONG_S)
    server = RpcServer("127.0.0.1:0", settings, SystemClock(), RecentRequests(4))
    server.add(PREDICTION, ScriptedPrediction(predict))
    return server


async def test_call_is_refused_with_details_before_any_work_when_another_is_still_under_way() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        assert request.pipeline == "first"
        begun.set()
        await gate.wait()
        return PredictResponse()

    server = new_server(predict)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary(PATH)
        first = method(PredictRequest(pipeline="first").SerializeToString(), timeout=LONG_S)
        await begun.wait()
        drain = asyncio.create_task(server.drain())
        await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(PredictRequest(pipeline="second").SerializeToString(), timeout=LONG_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "nothing was begun" in (caught.value.details() or "")
        assert DETAILS_KEY in (caught.value.trailing_metadata() or {})
        gate.set()
        assert await first == b""
        await drain


async def test_drain_waits_for_no_one_who_only_watches_the_health() -> None:
    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        return PredictResponse()

    server = new_server(predict)
    address = await server.start()
    await server.set_serving()
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        started_s = asyncio.get_running_loop().time()
        drain = asyncio.create_task(server.drain())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await drain
        assert asyncio.get_running_loop().time() - started_s < LONG_S / 2


async def test_port_is_free_for_another_process_while_calls_are_still_under_way() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        begun.set()
        await gate.wait()
        return PredictResponse()

    server = new_server(predict)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(PATH)(b"", timeout=LONG_S)
        await begun.wait()
        drain = asyncio.create_task(server.drain())
        await asyncio.sleep(0.05)
        host, _, port = address.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))
        gate.set()
        assert await call == b""
        await drain
