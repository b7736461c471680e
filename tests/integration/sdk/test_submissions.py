"""Predictions that are made later, over real servers that keep them as the test scripts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import forebay
import pytest
from forebay import Retry, _aio_calls, _calls, _pack, _predictions
from forebay.v1 import prediction_pb2 as pb

from runtime.rpc.call import Call
from runtime.rpc.status import status_of
from tests.support.echo_services import PREDICTION, serving
from tests.support.either_client import LONG_S, Opening
from tests.support.until import until

QUICK = Retry(first_delay_s=0.001)


class Kept:
    """Keeps submitted predictions, which end when the test says so. `waits` is whether Get waits; `broken` is
    after how many results a Watch fails."""

    def __init__(self) -> None:
        self.submitted: list[pb.SubmitPredictionRequest] = []
        self.asked: list[pb.GetPredictionRequest] = []
        self.watched: list[list[str]] = []
        self.pushed: list[str] = []
        self.failures = 0
        self.waits = True
        self.broken: int | None = None
        self.left = asyncio.Event()
        self._ended: dict[str, pb.GetPredictionResponse] = {}
        self._changed = asyncio.Condition()

    async def end(self, prediction_id: str, error: forebay.Error | None = None) -> None:
        column = _pack.column("id", [prediction_id], None, "e")
        self._ended[prediction_id] = (
            pb.GetPredictionResponse(
                state=pb.PREDICTION_STATE_DONE, response=pb.PredictResponse(entities=[column])
            )
            if error is None
            else pb.GetPredictionResponse(state=pb.PREDICTION_STATE_FAILED, error=status_of(error))
        )
        async with self._changed:
            self._changed.notify_all()

    async def SubmitPrediction(  # noqa: N802
        self, request: pb.SubmitPredictionRequest, call: Call
    ) -> pb.SubmitPredictionResponse:
        self.submitted.append(request)
        if len(self.submitted) <= self.failures:
            raise forebay.Unavailable("gone")
        return pb.SubmitPredictionResponse(prediction_id=f"id-{request.idempotency_key}")

    async def GetPrediction(  # noqa: N802
        self, request: pb.GetPredictionRequest, call: Call
    ) -> pb.GetPredictionResponse:
        self.asked.append(request)
        if request.prediction_id == "unknown":
            raise forebay.NotFound("no such prediction", field="prediction_id")
        if self.waits:
            await self._wait(request)
        pending = pb.GetPredictionResponse(state=pb.PREDICTION_STATE_PENDING)
        return self._ended.get(request.prediction_id, pending)

    async def WatchPrediction(  # noqa: N802
        self, request: pb.WatchPredictionRequest, call: Call
    ) -> AsyncIterator[pb.WatchPredictionResponse]:
        self.watched.append(list(request.prediction_ids))
        left, pushed = list(request.prediction_ids), 0
        try:
            while left:
                for each in [each for each in left if each in self._ended]:
                    left.remove(each)
                    yield pb.WatchPredictionResponse(prediction_id=each, result=self._ended[each])
                    self.pushed.append(each)
                    pushed += 1
                    if pushed == self.broken:
                        raise forebay.Unavailable("draining")
                async with self._changed:
                    await self._changed.wait()
        finally:
            self.left.set()

    async def _wait(self, request: pb.GetPredictionRequest) -> None:
        async with self._changed:
            try:
                async with asyncio.timeout(request.wait_us / 1e6):
                    await self._changed.wait_for(lambda: request.prediction_id in self._ended)
            except TimeoutError:
                return


@asynccontextmanager
async def kept() -> AsyncIterator[tuple[Kept, str]]:
    servicer = Kept()
    async with serving((PREDICTION, servicer)) as address:
        yield servicer, address


def identity(answer: forebay.Answer) -> str:
    found: str = answer[0].entity["id"]
    return found


async def test_prediction_is_submitted_and_its_answer_fetched(opened: Opening) -> None:
    async with kept() as (servicer, address), opened(address) as ask:
        prediction_id = await ask("submit", "p", user_id=42, top=3, idempotency_key="order-7")
        assert prediction_id == "id-order-7"
        with pytest.raises(forebay.Pending) as caught:
            await ask("result", prediction_id)
        assert caught.value.metadata == {"prediction_id": "id-order-7"}
        await servicer.end(prediction_id)
        assert identity(await ask("result", prediction_id)) == "id-order-7"
    submitted = servicer.submitted[0]
    assert (submitted.request.pipeline, submitted.request.top) == ("p", 3)
    assert submitted.request.inputs["user_id"].int64_value == 42


@pytest.mark.parametrize(("key", "calls"), [("", 1), ("order-7", 3)])
async def test_submission_is_repeated_only_with_an_idempotency_key(
    opened: Opening, key: str, calls: int
) -> None:
    async with kept() as (servicer, address), opened(address, retry=QUICK) as ask:
        servicer.failures = 9
        with pytest.raises(forebay.Unavailable):
            await ask("submit", "p", idempotency_key=key)
    assert len(servicer.submitted) == calls


async def test_answer_is_waited_for_in_one_call_when_the_server_waits(opened: Opening) -> None:
    async with kept() as (servicer, address), opened(address, timeout_s=1.0) as ask:
        answer = asyncio.create_task(ask("result", "a", wait_s=LONG_S))
        await until(lambda: servicer.asked)
        await servicer.end("a")
        assert identity(await answer) == "a"
    assert len(servicer.asked) == 1
    assert 19e6 < servicer.asked[0].wait_us <= 20e6


async def test_server_is_not_hammered_when_it_does_not_wait(opened: Opening) -> None:
    async with kept() as (servicer, address), opened(address) as ask:
        servicer.waits = False
        started_s = time.monotonic()
        with pytest.raises(forebay.Pending):
            await ask("result", "a", wait_s=0.3)
        assert time.monotonic() - started_s < 5
    assert 2 <= len(servicer.asked) <= 7


async def test_error_is_the_predictions_when_it_failed(opened: Opening) -> None:
    async with kept() as (servicer, address), opened(address) as ask:
        await servicer.end("a", forebay.InvalidRequest("no input hour", field="inputs.hour"))
        with pytest.raises(forebay.InvalidRequest) as caught:
            await ask("result", "a")
        assert caught.value.field == "inputs.hour"
        assert caught.value.metadata["prediction_id"] == "a"
        with pytest.raises(forebay.NotFound) as unknown:
            await ask("result", "unknown")
        assert "prediction_id" not in unknown.value.metadata


async def test_ends_are_told_as_they_come(opened: Opening) -> None:
    async with kept() as (servicer, address), opened(address) as ask:
        await servicer.end("b")
        ends = asyncio.create_task(ask("watch", ["a", "b", "c", "a"]))
        await until(lambda: servicer.pushed == ["b"])
        await servicer.end("c", forebay.NotFound("no pipeline p"))
        await until(lambda: servicer.pushed == ["b", "c"])
        await servicer.end("a")
        found = await ends
    assert [prediction_id for prediction_id, _ in found] == ["b", "c", "a"]
    assert [type(end) for _, end in found] == [forebay.Answer, forebay.NotFound, forebay.Answer]
    assert servicer.watched == [["a", "b", "c"]]


async def test_watch_goes_on_with_the_rest_when_the_server_breaks_it(opened: Opening) -> None:
    ids = [str(n) for n in range(8)]
    async with kept() as (servicer, address), opened(address, retry=QUICK) as ask:
        servicer.broken = 1
        for each in ids:
            await servicer.end(each)
        found = await ask("watch", ids)
    assert [prediction_id for prediction_id, _ in found] == ids
    assert [len(watched) for watched in servicer.watched] == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_watch_ends_by_its_time_when_some_have_not_ended(opened: Opening) -> None:
    async with kept() as (servicer, address), opened(address) as ask:
        await servicer.end("a")
        with pytest.raises(forebay.DeadlineExceeded, match="1 of the predictions"):
            await ask("watch", ["a", "b"], wait_s=0.2)
        assert await ask("watch", []) == []
        with pytest.raises(forebay.InvalidRequest):
            await ask("watch", "a")


async def test_long_waits_are_several_calls(opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_predictions, _calls, _aio_calls):
        monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.1)
    async with kept() as (servicer, address), opened(address, retry=None) as ask:
        answer = asyncio.create_task(ask("result", "a", wait_s=LONG_S))
        ends = asyncio.create_task(ask("watch", ["a", "b"], wait_s=LONG_S))
        await until(lambda: len(servicer.asked) >= 3 and len(servicer.watched) >= 3)
        await servicer.end("b")
        await until(lambda: servicer.watched[-1] == ["a"])
        await servicer.end("a")
        assert identity(await answer) == "a"
        assert [prediction_id for prediction_id, _ in await ends] == ["b", "a"]
    assert len(servicer.asked) >= 3
    assert len(servicer.watched) >= 3
    assert (servicer.watched[0], servicer.watched[-1]) == (["a", "b"], ["a"])


async def test_watch_fails_when_the_server_stays_gone(opened: Opening) -> None:
    async with serving() as address:
        pass
    async with opened(address, retry=QUICK) as ask:
        with pytest.raises(forebay.Unavailable):
            await ask("watch", ["a"])


async def test_server_is_told_when_a_watch_is_left_early() -> None:
    async with kept() as (servicer, address):
        await servicer.end("a")

        def first() -> str:
            with forebay.Client(address) as client:
                ends = client.watch(["a", "b"])
                prediction_id, _ = next(ends)
                ends.close()  # type: ignore[attr-defined]
                return prediction_id

        assert await asyncio.to_thread(first) == "a"
        await asyncio.wait_for(servicer.left.wait(), LONG_S)
        servicer.left.clear()
        async with forebay.aio.Client(address) as client:
            ends = client.watch(["a", "b"])
            assert (await anext(ends))[0] == "a"
            await ends.aclose()  # type: ignore[attr-defined]
            await asyncio.wait_for(servicer.left.wait(), LONG_S)
