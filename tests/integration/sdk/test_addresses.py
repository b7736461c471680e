"""A client of several servers: turns, failover, hedging."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import forebay
import pytest
from forebay import Retry, _pack
from forebay.v1.features_pb2 import View, ViewFeature
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse

from runtime.rpc.call import Call
from tests.support.echo_services import FEATURES, PREDICTION, ScriptedFeatures, ScriptedPrediction, serving
from tests.support.either_client import LONG_S, Opening


class Server:
    """Answers with its number; slowly, or not at all, where the test says so."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.answering = asyncio.Event()
        self.answering.set()
        self.failure: forebay.Error | None = None
        self.count = 0
        self.cancelled = asyncio.Event()
        self.address = ""

    async def predict(self, request: PredictRequest, call: Call) -> PredictResponse:
        self.count += 1
        if self.failure is not None:
            raise self.failure
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return PredictResponse(entities=[_pack.column("server", [self.number], None, "e")])


@asynccontextmanager
async def servers(count: int) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        started = [Server(number) for number in range(count)]
        for server in started:
            service = (PREDICTION, ScriptedPrediction(server.predict))
            server.address = await stack.enter_async_context(serving(service))
        yield started


def named(all_: list[Server]) -> str:
    return ",".join(server.address for server in all_)


def by(answer: forebay.Answer) -> int:
    number: int = answer[0].entity["server"]
    return number


async def test_servers_take_turns(opened: Opening) -> None:
    async with servers(3) as all_, opened(named(all_)) as ask:
        assert [by(await ask("predict", "p")) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


async def test_the_other_server_answers_when_one_is_gone(opened: Opening) -> None:
    async with serving() as gone:
        pass
    async with servers(1) as (server,), opened([gone, server.address]) as ask:
        for _ in range(20):
            assert by(await ask("predict", "p")) == 0
    assert server.count == 20


@pytest.mark.parametrize(
    "failure", [forebay.Unavailable("draining"), forebay.Overloaded("full", retry_after_s=9)]
)
async def test_the_other_server_answers_at_once_when_one_refuses(
    opened: Opening, failure: forebay.Error
) -> None:
    async with servers(2) as all_, opened(named(all_)) as ask:
        all_[0].failure = failure
        started_s = time.monotonic()
        assert by(await ask("predict", "p")) == 1
        assert time.monotonic() - started_s < 5


async def test_no_read_fails_when_servers_restart_one_after_another(opened: Opening) -> None:
    async with AsyncExitStack() as stack:
        kept = [Server(0), Server(1)]
        running = [await stack.enter_async_context(restartable(server)) for server in kept]
        async with opened([each.address for each in running]) as ask:

            async def work() -> int:
                answered = 0
                while not stopped.is_set():
                    await ask("predict", "p")
                    answered += 1
                return answered

            stopped = asyncio.Event()
            workers = [asyncio.create_task(work()) for _ in range(4)]
            for each in running * 2:
                await asyncio.sleep(0.2)
                await each.restart()
            await asyncio.sleep(0.2)
            stopped.set()
            answered = await asyncio.gather(*workers)
    assert sum(answered) > 50
    assert all(server.count for server in kept)


class Restarted:
    """A server that can be stopped, calls under way cut, and started again at its address."""

    def __init__(self, server: Server) -> None:
        self.address = ""
        self._server = server
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        port = int(self.address.rpartition(":")[2] or 0)
        service = (PREDICTION, ScriptedPrediction(self._server.predict))
        self.address = await self._stack.enter_async_context(serving(service, port=port))

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await asyncio.sleep(0.05)
        await self.start()


@asynccontextmanager
async def restartable(server: Server) -> AsyncIterator[Restarted]:
    restarted = Restarted(server)
    await restarted.start()
    try:
        yield restarted
    finally:
        await restarted.stop()


async def test_writes_go_to_one_server_when_it_fails(opened: Opening) -> None:
    view = View(name="taste", features=[ViewFeature(name="age", dtype="int64")])
    both = [ScriptedFeatures(view=view), ScriptedFeatures(view=view)]
    for servicer in both:
        servicer.refusal = forebay.Unavailable("gone")
    async with (
        serving((FEATURES, both[0])) as one,
        serving((FEATURES, both[1])) as other,
        opened([one, other], hedge_after_s=0.0) as ask,
    ):
        with pytest.raises(forebay.Unavailable):
            await ask("write", "taste", user_id=[1], age=[2])
    seen = [type(request).__name__ for servicer in both for request in servicer.requests]
    assert seen.count("WriteFeaturesRequest") == 1


async def test_hedge_wins_when_the_first_server_is_slow(opened: Opening) -> None:
    async with servers(2) as all_, opened(named(all_), hedge_after_s=0.02) as ask:
        all_[0].answering.clear()
        assert by(await ask("predict", "p")) == 1
        await asyncio.wait_for(all_[0].cancelled.wait(), LONG_S)
    assert [server.count for server in all_] == [1, 1]


async def test_first_server_wins_when_the_hedge_is_slower(opened: Opening) -> None:
    async with servers(2) as all_, opened(named(all_), hedge_after_s=0.0) as ask:
        all_[0].answering.clear()
        all_[1].answering.clear()
        answer = asyncio.create_task(ask("predict", "p"))
        await asyncio.sleep(0.1)
        all_[0].answering.set()
        assert by(await answer) == 0
        await asyncio.wait_for(all_[1].cancelled.wait(), LONG_S)


async def test_nothing_is_hedged_when_answers_come_in_time(opened: Opening) -> None:
    async with servers(2) as all_, opened(named(all_), hedge_after_s=LONG_S) as ask:
        for _ in range(10):
            await ask("predict", "p")
    assert sum(server.count for server in all_) == 10


async def test_hedges_stay_below_their_share_when_a_server_hangs(opened: Opening) -> None:
    async with servers(2) as all_, opened(named(all_), hedge_after_s=0.0, timeout_s=0.4) as ask:
        for server in all_:
            server.answering.clear()
        calls = [ask("predict", "p") for _ in range(40)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in ended} == {forebay.DeadlineExceeded}
    assert 40 < sum(server.count for server in all_) <= 40 + 1 + 2


async def test_hedged_call_fails_by_its_deadline_when_all_are_slow(opened: Opening) -> None:
    async with servers(2) as all_, opened(named(all_), hedge_after_s=0.01) as ask:
        for server in all_:
            server.answering.clear()
        started_s = time.monotonic()
        with pytest.raises(forebay.DeadlineExceeded):
            await ask("predict", "p", timeout_s=0.1)
        assert 0.09 <= time.monotonic() - started_s < 5


async def test_hedged_call_fails_when_the_request_is_wrong(opened: Opening) -> None:
    async with servers(2) as all_, opened(named(all_), hedge_after_s=0.5) as ask:
        all_[0].failure = forebay.InvalidRequest("top is 0", field="top")
        with pytest.raises(forebay.InvalidRequest):
            await ask("predict", "p")
    assert [server.count for server in all_] == [1, 0]


async def test_hedged_call_is_made_again_when_both_servers_fail(opened: Opening) -> None:
    retry = Retry(attempts=4, first_delay_s=0.001)
    async with servers(2) as all_, opened(named(all_), hedge_after_s=0.5, retry=retry) as ask:
        for server in all_:
            server.failure = forebay.Unavailable("starting")
        with pytest.raises(forebay.Unavailable, match="starting"):
            await ask("predict", "p")
    assert sum(server.count for server in all_) == 4


async def test_hedged_call_ends_with_unavailable_when_the_client_is_closed(opened: Opening) -> None:
    async with servers(2) as all_:
        async with opened(named(all_), hedge_after_s=0.01) as ask:
            for server in all_:
                server.answering.clear()
            call = asyncio.create_task(ask("predict", "p"))
            await asyncio.sleep(0.1)
        with pytest.raises(forebay.Unavailable):
            await call


async def test_hedged_calls_leave_no_task_when_they_are_cancelled() -> None:
    async with servers(2) as all_, forebay.aio.Client(named(all_), hedge_after_s=0.0) as client:
        for server in all_:
            server.answering.clear()
        calls = [asyncio.create_task(client.predict("p", timeout_s=LONG_S)) for _ in range(20)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.cancelled() for call in calls)
        assert not [task for task in asyncio.all_tasks() if "attempt" in repr(task.get_coro())]
