"""Calls that are made again, as real servers see them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import forebay
import pytest
from forebay import Retry
from forebay._status import PUSHBACK_KEY
from forebay.v1.features_pb2 import View, ViewFeature
from forebay.v1.prediction_pb2 import PredictRequest, PredictResponse

from runtime.rpc.call import Call
from tests.support.echo_services import FEATURES, PREDICTION, ScriptedFeatures, ScriptedPrediction, serving
from tests.support.either_client import Opening

QUICK = Retry(first_delay_s=0.001)
PATIENT = Retry(attempts=4, first_delay_s=0.001)


class Recorded:
    """A server that fails as scripted, then answers; keeps when each call came and what time it had."""

    def __init__(self, *failures: Callable[[], forebay.Error] | None) -> None:
        self.failures = list(failures)
        self.arrivals_s: list[float] = []
        self.given_s: list[float] = []
        self.criticalities: list[str] = []
        self.called = asyncio.Event()

    async def predict(self, request: PredictRequest, call: Call) -> PredictResponse:
        self.arrivals_s.append(time.monotonic())
        self.given_s.append(call.deadline.at_s - call.started_s)
        self.criticalities.append(call.criticality)
        self.called.set()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure()
        return PredictResponse()

    @property
    def count(self) -> int:
        return len(self.arrivals_s)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with serving((PREDICTION, ScriptedPrediction(self.predict))) as address:
            yield address


def gone() -> forebay.Error:
    return forebay.Unavailable("starting")


def shed(after_s: float | None) -> Callable[[], forebay.Error]:
    return lambda: forebay.Overloaded("full", retry_after_s=after_s)


async def test_answer_comes_when_the_server_fails_twice_first(opened: Opening) -> None:
    server = Recorded(gone, gone)
    async with server.serving() as address, opened(address, retry=QUICK) as ask:
        await ask("predict", "p", criticality="critical")
    assert server.count == 3
    assert server.criticalities == ["critical"] * 3


async def test_each_attempt_carries_the_time_that_is_left(opened: Opening) -> None:
    server = Recorded(shed(0.2), shed(0.2))
    async with server.serving() as address, opened(address) as ask:
        await ask("predict", "p", timeout_s=2.0)
    # gRPC sends a timeout that is within 3% of the connection's last one as that one.
    for given_s, arrival_s in zip(server.given_s, server.arrivals_s, strict=True):
        assert given_s <= (2.0 - (arrival_s - server.arrivals_s[0])) * 1.03


async def test_server_is_left_alone_for_as_long_as_it_asks(opened: Opening) -> None:
    server = Recorded(shed(0.08), shed(0.04))
    async with server.serving() as address, opened(address, retry=QUICK) as ask:
        await ask("predict", "p")
    first_s, second_s, third_s = server.arrivals_s
    assert second_s - first_s >= 0.08
    assert third_s - second_s >= 0.04


async def test_error_is_the_servers_when_attempts_run_out(opened: Opening) -> None:
    server = Recorded(*[gone] * 9)
    async with server.serving() as address, opened(address, retry=QUICK) as ask:
        with pytest.raises(forebay.Unavailable, match="starting"):
            await ask("predict", "p")
    assert server.count == 3


async def test_call_ends_early_when_the_server_asks_for_more_time_than_is_left(opened: Opening) -> None:
    server = Recorded(shed(25.0))
    async with server.serving() as address, opened(address) as ask:
        started_s = time.monotonic()
        with pytest.raises(forebay.Overloaded) as caught:
            await ask("predict", "p", timeout_s=20.0)
        assert time.monotonic() - started_s < 15.0
    assert caught.value.retry_after_s == 25.0
    assert server.count == 1


async def test_deadline_holds_when_every_attempt_fails(opened: Opening) -> None:
    server = Recorded(*[gone] * 100)
    retry = Retry(attempts=100, first_delay_s=0.01, max_delay_s=0.02, budget=1)
    async with server.serving() as address, opened(address, retry=retry) as ask:
        started_s = time.monotonic()
        with pytest.raises((forebay.Unavailable, forebay.DeadlineExceeded)):
            await ask("predict", "p", timeout_s=0.15)
        assert time.monotonic() - started_s < 10.0
    assert all(given_s <= 0.151 for given_s in server.given_s)
    assert server.count < 20


@pytest.mark.parametrize(
    "failure",
    [
        shed(None),
        lambda: forebay.InvalidRequest("wrong"),
        lambda: forebay.NotUsable("no model"),
        lambda: forebay.Internal("bug"),
        lambda: forebay.DeadlineExceeded("late"),
        lambda: forebay.Conflict("changed"),
    ],
    ids=["overloaded", "invalid", "not-usable", "internal", "deadline", "conflict"],
)
async def test_call_is_made_once_when_repeating_is_no_use(
    opened: Opening, failure: Callable[[], forebay.Error]
) -> None:
    server = Recorded(failure)
    async with server.serving() as address, opened(address, retry=QUICK) as ask:
        with pytest.raises(forebay.Error):
            await ask("predict", "p")
    assert server.count == 1


@pytest.mark.parametrize("pushback", ["-1", "later"])
async def test_call_is_made_once_when_the_pushback_forbids_more(opened: Opening, pushback: str) -> None:
    arrivals = []

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        arrivals.append(call)
        call.set_trailing(PUSHBACK_KEY, pushback)
        raise forebay.Unavailable("going away")

    async with (
        serving((PREDICTION, ScriptedPrediction(predict))) as address,
        opened(address, retry=QUICK) as ask,
    ):
        with pytest.raises(forebay.Unavailable):
            await ask("predict", "p")
    assert len(arrivals) == 1


async def test_call_is_made_once_when_retries_are_off(opened: Opening) -> None:
    server = Recorded(gone)
    async with server.serving() as address, opened(address, retry=None) as ask:
        with pytest.raises(forebay.Unavailable):
            await ask("predict", "p")
    assert server.count == 1


async def test_writes_are_made_once_when_they_fail(opened: Opening) -> None:
    class Failing(ScriptedFeatures):
        async def DeleteEntities(self, request: object, call: Call) -> object:  # noqa: N802
            self.requests.append(request)
            raise gone()

    view = View(name="taste", features=[ViewFeature(name="age", dtype="int64")])
    servicer = Failing(view=view)
    servicer.refusal = gone()
    async with serving((FEATURES, servicer)) as address, opened(address, retry=QUICK) as ask:
        with pytest.raises(forebay.Unavailable):
            await ask("write", "taste", user_id=[1], age=[2])
        with pytest.raises(forebay.Unavailable):
            await ask("delete", "user", user_id=[1])
    assert kinds(servicer.requests) == [
        "DescribeViewRequest",
        "WriteFeaturesRequest",
        "DeleteEntitiesRequest",
    ]


def kinds(requests: Iterable[object]) -> list[str]:
    return [type(request).__name__ for request in requests]


async def test_an_outage_is_hardly_multiplied_when_the_server_only_fails(opened: Opening) -> None:
    server = Recorded(*[gone] * 10_000)
    calls = 200
    retry = Retry(attempts=3, first_delay_s=0.0, budget=0.1)
    async with server.serving() as address, opened(address, retry=retry) as ask:

        async def fail(count: int) -> None:
            for _ in range(count):
                with pytest.raises(forebay.Unavailable):
                    await ask("predict", "p")

        await asyncio.gather(*(fail(calls // 4) for _ in range(4)))
    assert calls + 10 <= server.count <= calls + 10 + calls * 0.1


async def test_answer_comes_when_the_server_is_back_in_time(opened: Opening) -> None:
    server = Recorded()
    async with server.serving() as address:
        pass
    port = int(address.rpartition(":")[2])
    retry = Retry(attempts=50, first_delay_s=0.05, max_delay_s=0.1, budget=1)
    async with opened(address, retry=retry) as ask:
        answer = asyncio.create_task(ask("predict", "p"))
        await asyncio.sleep(0.2)
        async with serving((PREDICTION, ScriptedPrediction(server.predict)), port=port):
            await answer
    assert server.count == 1


async def test_calls_end_with_unavailable_when_the_client_is_closed(opened: Opening) -> None:
    started = asyncio.Event()

    async def predict(request: PredictRequest, call: Call) -> PredictResponse:
        started.set()
        await asyncio.Event().wait()
        return PredictResponse()

    async with serving((PREDICTION, ScriptedPrediction(predict))) as address:
        async with opened(address) as ask:
            under_way = asyncio.create_task(ask("predict", "p"))
            await started.wait()
        with pytest.raises(forebay.Unavailable):
            await under_way
        with pytest.raises(forebay.Unavailable, match="closed"):
            await ask("predict", "p")


async def test_client_that_waits_for_a_retry_ends_when_it_is_closed() -> None:
    server = Recorded(shed(15.0))
    async with server.serving() as address:
        client = forebay.Client(address, timeout_s=20.0)
        call = asyncio.create_task(asyncio.to_thread(client.predict, "p"))
        await server.called.wait()
        client.close()
        with pytest.raises(forebay.Unavailable):
            await asyncio.wait_for(call, 10.0)
