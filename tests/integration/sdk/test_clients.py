"""The sync and the async client against real servicers over loopback; both must behave the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import forebay
import numpy as np
import pytest
from forebay import _pack
from forebay.types import Outcome, Status
from forebay.v1 import features_pb2, prediction_pb2, similarity_pb2, values_pb2

from runtime.rpc.call import Call
from runtime.settings import ServerSettings
from tests.support.echo_services import (
    FEATURES,
    PREDICTION,
    SIMILARITY,
    ScriptedFeatures,
    ScriptedPrediction,
    ScriptedSimilarity,
    serving,
)

LONG_S = 20.0


class Calling(Protocol):
    """One call by a client of either kind: its method's name and arguments."""

    def __call__(self, address: str, method: str, *args: Any, **kwargs: Any) -> Awaitable[Any]: ...


async def call_async(address: str, method: str, *args: Any, **kwargs: Any) -> Any:
    async with forebay.aio.Client(address, timeout_s=LONG_S, caller="shop") as client:
        return await getattr(client, method)(*args, **kwargs)


async def call_sync(address: str, method: str, *args: Any, **kwargs: Any) -> Any:
    def run() -> Any:
        with forebay.Client(address, timeout_s=LONG_S, caller="shop") as client:
            return getattr(client, method)(*args, **kwargs)

    return await asyncio.to_thread(run)


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Calling:
    """Either client."""
    calling: Calling = request.param
    return calling


def answering(
    response: prediction_pb2.PredictResponse, calls: list[Call] | None = None
) -> ScriptedPrediction:
    async def predict(request: prediction_pb2.PredictRequest, call: Call) -> prediction_pb2.PredictResponse:
        if calls is not None:
            calls.append(call)
            assert call.caller == "shop"
        return response

    return ScriptedPrediction(predict)


async def test_prediction_comes_back_as_items(call: Calling) -> None:
    response = prediction_pb2.PredictResponse(
        entities=[_pack.column("movie_id", [3, 1], None, "e")],
        scores=[_pack.column("score", [0.9, 0.5], None, "s")],
    )
    calls: list[Call] = []
    servicer = answering(response, calls)
    async with serving((PREDICTION, servicer)) as address:
        answer = await call(address, "predict", "movies_for_user", user_id=42, hour=21.0, top=2)
    assert [(item.entity["movie_id"], item.scores["score"]) for item in answer] == [(3, 0.9), (1, 0.5)]
    assert servicer.requests[0].pipeline == "movies_for_user"
    assert servicer.requests[0].top == 2
    assert calls[0].deadline.at_s - calls[0].started_s <= LONG_S * 1.01


async def test_input_may_be_named_like_the_pipeline_argument(call: Calling) -> None:
    servicer = answering(prediction_pb2.PredictResponse())
    async with serving((PREDICTION, servicer)) as address:
        await call(address, "predict", "p", pipeline="x", inputs={"top": 3})
    assert set(servicer.requests[0].inputs) == {"pipeline", "top"}


@pytest.mark.parametrize("kind", [forebay.NotFound, forebay.Overloaded, forebay.Internal])
async def test_error_has_its_kind_when_the_server_refuses(call: Calling, kind: type[forebay.Error]) -> None:
    async def predict(request: prediction_pb2.PredictRequest, call: Call) -> prediction_pb2.PredictResponse:
        raise kind("no pipeline p", field="pipeline")

    async with serving((PREDICTION, ScriptedPrediction(predict))) as address:
        with pytest.raises(forebay.Error) as caught:
            await call(address, "predict", "p")
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.field) == ("no pipeline p", "pipeline")


async def test_deadline_is_the_calls_own_when_it_has_one(call: Calling) -> None:
    ended = asyncio.Event()

    async def predict(request: prediction_pb2.PredictRequest, call: Call) -> prediction_pb2.PredictResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return prediction_pb2.PredictResponse()

    async with serving((PREDICTION, ScriptedPrediction(predict))) as address:
        with pytest.raises(forebay.DeadlineExceeded):
            await call(address, "predict", "p", timeout_s=0.05)
        await asyncio.wait_for(ended.wait(), LONG_S)


async def test_nothing_is_sent_when_no_time_is_left(call: Calling) -> None:
    servicer = answering(prediction_pb2.PredictResponse())
    async with serving((PREDICTION, servicer)) as address:
        for timeout_s in (0.0, -1.0):
            with pytest.raises(forebay.DeadlineExceeded):
                await call(address, "predict", "p", timeout_s=timeout_s)
    assert servicer.requests == []


async def test_server_is_unavailable_when_nobody_listens(call: Calling) -> None:
    async with serving() as address:
        pass
    with pytest.raises(forebay.Unavailable):
        await call(address, "predict", "p")


async def test_request_is_invalid_when_it_is_above_the_servers_limit(call: Calling) -> None:
    settings = ServerSettings(max_receive_bytes=1000)
    async with serving(
        (PREDICTION, answering(prediction_pb2.PredictResponse())), settings=settings
    ) as address:
        with pytest.raises(forebay.InvalidRequest, match="larger than max"):
            await call(address, "predict", "p", note="x" * 2000)


async def test_features_come_back_as_a_table(call: Calling) -> None:
    years = values_pb2.Column(
        name="movie_profile.year",
        values=_pack.tensor(np.array([1995, 0, 1999], np.float32), None, "y"),
        statuses=bytes([1, 3, 4]),
    )
    servicer = ScriptedFeatures(columns=[years])
    async with serving((FEATURES, servicer)) as address:
        table = await call(address, "features", ["movie_profile.year"], movie_id=[1, 2, 3])
    assert table.values("movie_profile.year").dtype == np.float32
    assert table.statuses("movie_profile.year").tolist() == [
        Status.PRESENT,
        Status.NOT_FOUND,
        Status.STALE,
    ]
    request = servicer.requests[0]
    assert (request.features, request.keys[0].name) == (["movie_profile.year"], "movie_id")
    assert not request.event_times


async def test_similar_entities_come_back_as_items(call: Calling) -> None:
    servicer = ScriptedSimilarity(
        similarity_pb2.FindSimilarResponse(
            entities=[_pack.column("movie_id", [5], None, "e")],
            scores=_pack.column("score", [0.7], None, "s"),
            provenance=prediction_pb2.Provenance(index="movies", index_version="3"),
        )
    )
    async with serving((SIMILARITY, servicer)) as address:
        by_key = await call(address, "similar", "movies", movie_id=1, k=10)
        await call(address, "similar", "movies", vector=np.ones(4))
    assert (by_key[0].entity["movie_id"], by_key[0].scores["score"]) == (5, 0.7)
    assert by_key.provenance.index_version == "3"
    assert servicer.requests[0].key["movie_id"].int64_value == 1
    assert servicer.requests[1].vector.dtype == values_pb2.DTYPE_FLOAT32


def taste(*features: tuple[str, str]) -> features_pb2.View:
    return features_pb2.View(
        name="user_taste",
        entity="user",
        features=[features_pb2.ViewFeature(name=name, dtype=dtype) for name, dtype in features],
    )


async def test_row_is_written_with_the_views_types(call: Calling) -> None:
    servicer = ScriptedFeatures(view=taste(("mean_rating", "float32")))
    servicer.outcomes = bytes([1, 2])
    async with serving((FEATURES, servicer)) as address:
        outcomes = await call(address, "write", "user_taste", user_id=[42, 43], mean_rating=[4, 5])
    assert outcomes == [Outcome.APPLIED, Outcome.OLDER]
    written = servicer.requests[-1]
    assert [key.name for key in written.keys] == ["user_id"]
    assert written.features[0].values.dtype == values_pb2.DTYPE_FLOAT32


async def test_write_and_what_it_looks_up_share_one_deadline(call: Calling) -> None:
    given_s: list[float] = []

    class Slow(ScriptedFeatures):
        async def DescribeView(self, request: Any, call: Call) -> Any:  # noqa: N802
            await asyncio.sleep(0.3)
            return await super().DescribeView(request, call)

        async def WriteFeatures(self, request: Any, call: Call) -> Any:  # noqa: N802
            given_s.append(call.deadline.at_s - call.started_s)
            return await super().WriteFeatures(request, call)

    async with serving((FEATURES, Slow(view=taste(("mean_rating", "float32"))))) as address:
        await call(address, "write", "user_taste", user_id=[42], mean_rating=[4], timeout_s=3.0)
    assert given_s[0] <= 2.7 * 1.03


async def test_view_is_described_once_and_again_after_a_refusal() -> None:
    servicer = ScriptedFeatures(view=taste(("mean_rating", "float32")))

    def described() -> int:
        return sum(isinstance(request, features_pb2.DescribeViewRequest) for request in servicer.requests)

    async with serving((FEATURES, servicer)) as address, forebay.aio.Client(address) as client:
        for _ in range(2):
            await client.write("user_taste", user_id=[42], mean_rating=[4.0])
        assert described() == 1
        servicer.refusal = forebay.InvalidRequest("user_taste has no feature mean_rating")
        with pytest.raises(forebay.InvalidRequest):
            await client.write("user_taste", user_id=[42], mean_rating=[4.0])
        with pytest.raises(forebay.InvalidRequest):
            await client.write("user_taste", user_id=[42], mean_rating=[4.0])
    assert described() == 2


async def test_unknown_column_is_looked_for_once_more_before_it_is_refused(call: Calling) -> None:
    view = taste(("mean_rating", "float32"))
    view.key.add(name="user_id", dtype="int64")
    servicer = ScriptedFeatures(view=view)
    servicer.outcomes = bytes([1])
    async with serving((FEATURES, servicer)) as address:
        with pytest.raises(forebay.NotFound, match="view user_taste has no feature zzz"):
            await call(address, "write", "user_taste", user_id=[42], zzz=[1])
        async with forebay.aio.Client(address) as client:
            await client.write("user_taste", user_id=[42], mean_rating=[4.0])
            view.features.add(name="zzz", dtype="int32")
            assert await client.write("user_taste", user_id=[42], zzz=[1]) == [Outcome.APPLIED]
    assert not any(request.view == "user_taste" and not request.features for request in writes(servicer))


def writes(servicer: ScriptedFeatures) -> list[features_pb2.WriteFeaturesRequest]:
    kind = features_pb2.WriteFeaturesRequest
    return [request for request in servicer.requests if isinstance(request, kind)]


async def test_entities_are_deleted_by_their_keys(call: Calling) -> None:
    servicer = ScriptedFeatures()
    servicer.outcomes = bytes([1, 2])
    async with serving((FEATURES, servicer)) as address:
        assert await call(address, "delete", "user", user_id=[42, 43]) == [Outcome.APPLIED, Outcome.OLDER]
    assert servicer.requests[0].entity == "user"
    assert servicer.requests[0].keys[0].name == "user_id"


async def test_call_is_cancelled_when_its_task_is() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def predict(request: prediction_pb2.PredictRequest, call: Call) -> prediction_pb2.PredictResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return prediction_pb2.PredictResponse()

    async with (
        serving((PREDICTION, ScriptedPrediction(predict))) as address,
        forebay.aio.Client(address) as client,
    ):
        task = asyncio.create_task(client.predict("p", timeout_s=LONG_S))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), LONG_S)


def test_methods_take_the_same_arguments_in_both_clients() -> None:
    def signatures(kind: type) -> dict[str, list[str]]:
        methods: dict[str, Callable[..., Any]] = dict(inspect.getmembers(kind, inspect.isfunction))
        public = {name: method for name, method in methods.items() if not name.startswith("_")}
        return {
            name: [str(p) for p in inspect.signature(m).parameters.values()] for name, m in public.items()
        }

    assert signatures(forebay.Client) == signatures(forebay.aio.Client)
    assert signatures(forebay.PredictStream) == signatures(forebay.aio.PredictStream)
    made = [inspect.signature(kind).parameters for kind in (forebay.Client, forebay.aio.Client)]
    assert [str(each) for each in made[0].values()] == [str(each) for each in made[1].values()]
