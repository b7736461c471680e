"""The client when the network fails: connections that are cut, silent, or left by the server."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import forebay
import pytest
from forebay import Retry
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse

from runtime.rpc.call import Call
from tests.support.echo_services import PREDICTION, ScriptedPrediction, serving
from tests.support.either_client import Opening
from tests.support.fault_proxy import FaultProxy
from tests.support.refusing_server import RefusingServer
from tests.support.source_files import ROOT

QUICK = Retry(first_delay_s=0.05)


class Holding:
    """Holds its first `held` calls for good, then answers."""

    def __init__(self, held: int) -> None:
        self.held = held
        self.count = 0
        self.called = asyncio.Event()

    async def predict(self, request: PredictRequest, call: Call) -> PredictResponse:
        self.count += 1
        self.called.set()
        if self.count <= self.held:
            await asyncio.Event().wait()
        return PredictResponse()


@pytest.mark.parametrize("cut", ["reset", "half_close"])
async def test_read_is_made_again_when_its_connection_is_cut(opened: Opening, cut: str) -> None:
    server = Holding(1)
    async with (
        serving((PREDICTION, ScriptedPrediction(server.predict))) as address,
        FaultProxy(address) as proxy,
        opened(f"127.0.0.1:{proxy.port}", retry=QUICK) as ask,
    ):
        answer = asyncio.create_task(ask("predict", "p"))
        await server.called.wait()
        getattr(proxy, cut)()
        await answer
    assert server.count == 2


async def test_submission_is_made_once_when_its_connection_is_cut(opened: Opening) -> None:
    called = asyncio.Event()
    calls = []

    class Submitting:
        async def SubmitPrediction(self, request: object, call: Call) -> object:  # noqa: N802
            calls.append(request)
            called.set()
            await asyncio.Event().wait()
            raise AssertionError

    async with (
        serving((PREDICTION, Submitting())) as address,
        FaultProxy(address) as proxy,
        opened(f"127.0.0.1:{proxy.port}", retry=QUICK) as ask,
    ):
        submission = asyncio.create_task(ask("submit", "p"))
        await called.wait()
        proxy.reset()
        with pytest.raises(forebay.Unavailable):
            await submission
    assert len(calls) == 1


async def test_deadline_holds_when_the_connection_goes_silent(opened: Opening) -> None:
    server = Holding(0)
    async with (
        serving((PREDICTION, ScriptedPrediction(server.predict))) as address,
        FaultProxy(address) as proxy,
        opened(f"127.0.0.1:{proxy.port}") as ask,
    ):
        await ask("predict", "p")
        proxy.black_hole = True
        started_s = time.monotonic()
        with pytest.raises(forebay.DeadlineExceeded):
            await ask("predict", "p", timeout_s=0.2)
        assert 0.19 <= time.monotonic() - started_s < 5
    assert server.count == 1


async def test_hedge_answers_when_a_connection_goes_silent(opened: Opening) -> None:
    server = Holding(0)
    async with (
        serving((PREDICTION, ScriptedPrediction(server.predict))) as address,
        FaultProxy(address) as proxy,
        opened([f"127.0.0.1:{proxy.port}", address], hedge_after_s=0.05) as ask,
    ):
        proxy.black_hole = True
        await ask("predict", "p")
        await ask("predict", "p")
    assert server.count == 2


async def test_grpc_itself_repeats_what_a_server_that_goes_away_has_not_seen(opened: Opening) -> None:
    async with RefusingServer(1) as server, opened(server.address, retry=None) as ask:
        assert await ask("delete", "user", user_id=[1]) == []
    assert server.calls == 2


async def test_grpc_repeats_it_once_only(opened: Opening) -> None:
    async with RefusingServer(9) as server, opened(server.address, retry=None) as ask:
        with pytest.raises(forebay.Unavailable):
            await ask("delete", "user", user_id=[1])
    assert server.calls == 2


FORK = """
import os, sys
import forebay

client = forebay.Client(sys.argv[1], timeout_s=20)
client.predict("p")
child = os.fork()
if child == 0:
    try:
        client.predict("p")
        code = 1
    except forebay.NotUsable as error:
        code = 0 if "fork" in error.message else 2
    client.close()
    os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
client.predict("p")
client.close()
"""


async def test_client_made_before_a_fork_says_so_in_the_child() -> None:
    server = Holding(0)
    async with serving((PREDICTION, ScriptedPrediction(server.predict))) as address:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FORK, address), env={"PYTHONPATH": str(ROOT / "sdk")}
        )
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert server.count == 2


async def test_threads_share_a_client_and_its_budget() -> None:
    server = Holding(0)

    def run(address: str) -> None:
        with forebay.Client(
            [address, f"localhost:{address.rpartition(':')[2]}"], hedge_after_s=5.0
        ) as client:

            def ask() -> None:
                for _ in range(25):
                    client.predict("p", timeout_s=20.0)

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async with serving((PREDICTION, ScriptedPrediction(server.predict))) as address:
        await asyncio.to_thread(run, address)
    assert server.count == 200
