"""Many predictions on one stream, over real servers that answer as the test scripts it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import forebay
import pytest
from forebay import _pack, _stream
from forebay.v1.prediction_pb2 import PredictResponse, StreamPredictRequest, StreamPredictResponse

from runtime.rpc.call import Call
from runtime.rpc.status import status_of
from tests.support.echo_services import PREDICTION, serving
from tests.support.either_client import (
    LONG_S,
    Opening,
    asynchronous_stream,
    synchronous_stream,
)
from tests.support.until import until

Reply = Callable[[StreamPredictRequest], StreamPredictResponse | None]


@pytest.fixture(params=[synchronous_stream, asynchronous_stream], ids=["sync", "async"])
def streaming(request: pytest.FixtureRequest) -> Opening:
    """Opens a stream of a client of either kind."""
    opening: Opening = request.param
    return opening


class Scripted:
    """Answers each message by a function, none until `released`; `failure` or `last` end the stream."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.requests: list[StreamPredictRequest] = []
        self.calls: list[Call] = []
        self.released = asyncio.Event()
        self.released.set()
        self.failure: forebay.Error | None = None
        self.last: int | None = None
        self.ended = asyncio.Event()

    async def StreamPredict(  # noqa: N802
        self, requests: AsyncIterator[StreamPredictRequest], call: Call
    ) -> AsyncIterator[StreamPredictResponse]:
        self.calls.append(call)
        try:
            async for request in requests:
                self.requests.append(request)
                await self.released.wait()
                if self.failure is not None:
                    raise self.failure
                response = self._reply(request)
                if response is not None:
                    yield response
                if len(self.requests) == self.last:
                    return
        finally:
            self.ended.set()


def echo(request: StreamPredictRequest) -> StreamPredictResponse:
    """The user's id is the answer."""
    user = request.request.inputs["user_id"].int64_value
    response = PredictResponse(entities=[_pack.column("user_id", [user], None, "e")])
    return StreamPredictResponse(request_id=request.request_id, response=response)


@asynccontextmanager
async def scripted(reply: Reply = echo) -> AsyncIterator[tuple[Scripted, str]]:
    servicer = Scripted(reply)
    async with serving((PREDICTION, servicer)) as address:
        yield servicer, address


def user(answer: forebay.Answer) -> int:
    found: int = answer[0].entity["user_id"]
    return found


async def test_answers_find_their_requests_when_many_are_under_way(streaming: Opening) -> None:
    async with scripted() as (servicer, address), streaming(address, caller="shop") as ask:
        answers = await asyncio.gather(*(ask("p", user_id=n, top=1) for n in range(200)))
    assert [user(answer) for answer in answers] == list(range(200))
    assert [call.caller for call in servicer.calls] == ["shop"]
    assert all(0 < request.timeout_us <= LONG_S * 1e6 for request in servicer.requests)


async def test_answers_come_as_they_end_when_their_order_differs(streaming: Opening) -> None:
    kept: list[StreamPredictRequest] = []

    def swap(request: StreamPredictRequest) -> StreamPredictResponse | None:
        kept.append(request)
        return None if len(kept) == 1 else echo(kept[-1] if len(kept) == 2 else kept[0])

    async with scripted(swap) as (_, address), streaming(address) as ask:
        first = asyncio.create_task(ask("p", user_id=1))
        await until(lambda: len(kept) == 1)
        assert user(await ask("p", user_id=2)) == 2
        third = asyncio.create_task(ask("p", user_id=3, timeout_s=1.0))
        assert user(await first) == 1
        with pytest.raises(forebay.DeadlineExceeded):
            await third


async def test_error_is_one_requests_own(streaming: Opening) -> None:
    def odd_fails(request: StreamPredictRequest) -> StreamPredictResponse:
        if request.request.inputs["user_id"].int64_value % 2:
            error = forebay.Overloaded("full", retry_after_s=0.5)
            return StreamPredictResponse(request_id=request.request_id, error=status_of(error))
        return echo(request)

    async with scripted(odd_fails) as (_, address), streaming(address) as ask:
        found: list[Any] = await asyncio.gather(
            *(ask("p", user_id=n) for n in range(4)), return_exceptions=True
        )
    assert [type(each) for each in found] == [forebay.Answer, forebay.Overloaded] * 2
    assert found[1].retry_after_s == 0.5


async def test_request_ends_at_its_own_deadline_when_the_server_is_silent(streaming: Opening) -> None:
    async with scripted() as (servicer, address), streaming(address, timeout_s=0.5) as ask:
        servicer.released.clear()
        with pytest.raises(forebay.DeadlineExceeded):
            await ask("p", user_id=1)
        servicer.released.set()
        assert user(await ask("p", user_id=2, timeout_s=LONG_S)) == 2
        with pytest.raises(forebay.DeadlineExceeded):
            await ask("p", user_id=3, timeout_s=0.0)
    assert len(servicer.requests) == 2


async def test_no_more_than_the_most_are_unanswered(streaming: Opening) -> None:
    async with scripted() as (servicer, address), streaming(address, max_pending=2) as ask:
        servicer.released.clear()
        first = [asyncio.create_task(ask("p", user_id=n)) for n in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(forebay.DeadlineExceeded):
            await ask("p", user_id=3, timeout_s=0.05)
        fourth = asyncio.create_task(ask("p", user_id=4))
        servicer.released.set()
        assert [user(answer) for answer in await asyncio.gather(*first, fourth)] == [0, 1, 4]
    assert len(servicer.requests) == 3


async def test_outstanding_answers_are_waited_for_when_the_stream_is_closed(streaming: Opening) -> None:
    async with scripted() as (servicer, address):
        async with streaming(address) as ask:
            servicer.released.clear()
            answer = asyncio.create_task(ask("p", user_id=7))
            await asyncio.sleep(0.1)
            asyncio.get_running_loop().call_later(0.1, servicer.released.set)
        assert user(await answer) == 7
        await asyncio.wait_for(servicer.ended.wait(), LONG_S)
        with pytest.raises(forebay.Unavailable, match="closed"):
            await ask("p", user_id=8)


async def test_answers_are_dropped_when_the_block_fails(streaming: Opening) -> None:
    async with scripted() as (servicer, address):
        servicer.released.clear()
        answers: list[asyncio.Task[Any]] = []

        async def fail() -> None:
            async with streaming(address) as ask:
                answers.append(asyncio.create_task(ask("p", user_id=7)))
                await asyncio.sleep(0.1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        with pytest.raises(forebay.Unavailable):
            await answers[0]
        await asyncio.wait_for(servicer.ended.wait(), LONG_S)


@pytest.mark.parametrize("failure", [forebay.Unavailable("draining"), None], ids=["fails", "ends"])
async def test_everything_fails_with_unavailable_once_the_server_has_ended_the_stream(
    streaming: Opening, failure: forebay.Error | None
) -> None:
    async with scripted(lambda request: None) as (servicer, address), streaming(address) as ask:
        servicer.failure, servicer.last = failure, 2
        servicer.released.clear()
        answers = [asyncio.create_task(ask("p", user_id=n)) for n in range(3)]
        await asyncio.sleep(0.05)
        servicer.released.set()
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(each) for each in found] == [forebay.Unavailable] * 3
        assert len({id(each) for each in found}) == 3
        with pytest.raises(forebay.Unavailable):
            await ask("p", user_id=9)


async def test_everything_fails_with_unavailable_when_nobody_listens(streaming: Opening) -> None:
    async with serving() as address:
        pass
    async with streaming(address) as ask:
        with pytest.raises(forebay.Unavailable):
            await ask("p", user_id=1)


async def test_call_is_unimplemented_when_the_server_has_no_streams(streaming: Opening) -> None:
    async with serving((PREDICTION, object())) as address, streaming(address) as ask:
        with pytest.raises(forebay.Unimplemented):
            await ask("p", user_id=1)


async def test_stream_goes_on_when_a_task_that_awaits_an_answer_is_cancelled() -> None:
    async with scripted() as (servicer, address), asynchronous_stream(address) as ask:
        servicer.released.clear()
        lost = asyncio.create_task(ask("p", user_id=1))
        await asyncio.sleep(0.05)
        lost.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lost
        servicer.released.set()
        assert user(await ask("p", user_id=2)) == 2


async def test_threads_share_a_stream_and_none_outlives_it() -> None:
    before = threading.active_count()

    def run(address: str) -> list[int]:
        with forebay.Client(address, timeout_s=LONG_S) as client, client.stream() as stream:
            futures: list[list[Future[forebay.Answer]]] = [[] for _ in range(4)]

            def ask(place: int) -> None:
                futures[place] = [stream.predict("p", user_id=place * 100 + n) for n in range(50)]

            threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return [user(future.result()) for group in futures for future in group]

    async with scripted() as (_, address):
        found = await asyncio.to_thread(run, address)
    assert found == [place * 100 + n for place in range(4) for n in range(50)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("forebay-stream")]
    assert threading.active_count() <= before + 2


async def test_deadlines_of_the_answered_are_not_kept_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream, "DEADLINES_KEPT", 10)

    def run(address: str) -> int:
        with forebay.Client(address, timeout_s=3600.0) as client, client.stream() as stream:
            for n in range(100):
                assert user(stream.predict("p", user_id=n).result()) == n
            return len(stream._deadlines)

    async with scripted() as (_, address):
        assert await asyncio.to_thread(run, address) <= 13


async def test_nothing_is_kept_of_requests_that_could_not_be_sent_in_time() -> None:
    big = "x" * 900_000  # HTTP/2's windows are soon full

    def sync(address: str) -> tuple[int, int]:
        with forebay.Client(address) as client, client.stream(max_pending=4) as stream:
            for _ in range(8):
                futures = [stream.predict("p", note=big, timeout_s=0.05) for _ in range(4)]
                assert all(isinstance(each.exception(), forebay.DeadlineExceeded) for each in futures)
            return len(stream._outgoing), len(stream._waiting)

    async with scripted() as (servicer, address):
        servicer.released.clear()
        assert await asyncio.to_thread(sync, address) == (0, 0)
        async with forebay.aio.Client(address) as client, client.stream(max_pending=4) as stream:
            for _ in range(8):
                requests = (stream.predict("p", note=big, timeout_s=0.05) for _ in range(4))
                found = await asyncio.gather(*requests, return_exceptions=True)
                assert [type(each) for each in found] == [forebay.DeadlineExceeded] * 4
            assert (len(stream._outgoing), len(stream._waiting)) == (0, 0)


async def test_stream_may_be_closed_by_a_callback_of_its_own() -> None:
    def run(address: str) -> tuple[int, Any]:
        with forebay.Client(address, timeout_s=LONG_S) as client:
            stream = client.stream()
            first = stream.predict("p", user_id=1)
            silent = stream.predict("p", user_id=2)
            closed = threading.Event()

            def close(_: Future[forebay.Answer]) -> None:
                stream.close()
                closed.set()

            first.add_done_callback(close)
            loop.call_soon_threadsafe(servicer.released.set)
            assert closed.wait(LONG_S)
            return user(first.result()), silent.exception(LONG_S)

    def first_only(request: StreamPredictRequest) -> StreamPredictResponse | None:
        return echo(request) if request.request_id == "1" else None

    loop = asyncio.get_running_loop()
    async with scripted(first_only) as (servicer, address):
        servicer.released.clear()
        number, failure = await asyncio.to_thread(run, address)
    assert number == 1
    assert isinstance(failure, forebay.Unavailable)


async def test_stream_that_is_not_open_says_so() -> None:
    async with forebay.aio.Client("localhost:1") as client:
        with pytest.raises(forebay.NotUsable, match="async with"):
            await client.stream().predict("p")


async def test_stream_ends_when_its_client_is_closed() -> None:
    def run(address: str) -> Any:
        client = forebay.Client(address, timeout_s=LONG_S)
        stream = client.stream()
        future = stream.predict("p", user_id=1)
        client.close()
        found = future.exception(LONG_S)
        stream.close()
        return found

    async with scripted() as (servicer, address):
        servicer.released.clear()
        assert isinstance(await asyncio.to_thread(run, address), forebay.Unavailable)
    with pytest.raises(forebay.InvalidRequest), forebay.Client("localhost:1") as client:
        client.stream(max_pending=0)
