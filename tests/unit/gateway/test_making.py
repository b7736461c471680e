"""What a worker makes of one submission: the answer of a call, under the submitted id, with time to spare."""

import asyncio
from dataclasses import dataclass, replace
from typing import cast

import pytest
from forebay.errors import Corrupt, InvalidRequest, NotFound, Unavailable
from forebay.v1 import prediction_pb2 as pb

from gateway.answer_key import AnswerKey
from gateway.budget import Budget
from gateway.live import LiveRelease
from gateway.plan import CompiledRelease, RecallStep
from gateway.submissions.making import Making
from gateway.submissions.messages import request_bytes
from gateway.submissions.submission import Submission
from runtime.clock import SystemClock
from runtime.submission_settings import SubmissionSettings
from tests.support.compiled_application import CompiledApplication


@pytest.fixture
def clock() -> SystemClock:
    """A worker looks for a newer release in real time."""
    return SystemClock()


@dataclass
class Live:
    """What a worker asks of `LiveRelease`."""

    current: CompiledRelease


def asked(pipeline: str = "no_rule", user_id: int = 1) -> pb.PredictRequest:
    request = pb.PredictRequest(pipeline=pipeline)
    request.inputs["user_id"].int64_value = user_id
    return request


def submitted(request: pb.PredictRequest, release: int = 1) -> Submission:
    return Submission("ab" * 16, request_bytes(request), release, "cd" * 16, "", 0)


def making(application: CompiledApplication, live: Live) -> Making:
    return Making(
        cast(LiveRelease, live), application.predictor, application.clock, SubmissionSettings(), 0.05
    )


async def test_the_answer_is_a_call_s_under_the_submitted_id(application: CompiledApplication) -> None:
    await application.write("profile", 1, age=30, income=5, children=1)
    await application.write("now", 1, clicks=2)
    answer = await application.predict("no_rule")
    raw = await making(application, Live(application.release)).make(submitted(asked()))
    response = pb.PredictResponse.FromString(raw)
    assert response.scores[0].values.data == answer.scores[0].values.astype("<f4").tobytes()
    assert response.provenance.prediction_id == "ab" * 16
    assert response.provenance.trace_id == "cd" * 16


async def test_time_takes_the_place_of_the_pipeline_s_budget(application: CompiledApplication) -> None:
    """A total of a microsecond, and a stage's cap of less, would end the call before its first step."""
    await application.write("profile", 1, age=30, income=5, children=1)
    pipeline = replace(application.release.pipeline("no_rule"), budget=Budget(1e-6, {"hydrate": 1e-7}))
    live = Live(replace(application.release, pipelines={"no_rule": pipeline}))
    raw = await making(application, live).make(submitted(asked()))
    stages = {stage.stage: stage.given_us for stage in pb.PredictResponse.FromString(raw).provenance.stages}
    assert 4_000_000 < stages["hydrate"] <= 5_000_000


@pytest.mark.parametrize(("total_s", "given_s"), [(10.0, 10), (3600.0, 24)])
async def test_a_longer_budget_of_the_pipeline_s_stands_until_others_would_take_over(
    application: CompiledApplication, total_s: float, given_s: int
) -> None:
    await application.write("profile", 1, age=30, income=5, children=1)
    pipeline = replace(application.release.pipeline("no_rule"), budget=Budget(total_s, {}))
    live = Live(replace(application.release, pipelines={"no_rule": pipeline}))
    raw = await making(application, live).make(submitted(asked()))
    stages = {stage.stage: stage.given_us for stage in pb.PredictResponse.FromString(raw).provenance.stages}
    assert given_s - 1 < stages["hydrate"] / 1e6 <= given_s


async def test_what_is_submitted_is_made_and_not_recalled(application: CompiledApplication) -> None:
    await application.write("profile", 1, age=30, income=5, children=1)
    step = RecallStep(
        AnswerKey("no_rule", ()),
        caches=True,
        fresh_s=3600.0,
        stale_s=0.0,
        retains=True,
        entity_views=(),
        candidate_views=(),
        watched=frozenset(),
    )
    pipeline = replace(application.release.pipeline("no_rule"), recall=step)
    worker = making(application, Live(replace(application.release, pipelines={"no_rule": pipeline})))
    made = [pb.PredictResponse.FromString(await worker.make(submitted(asked()))) for _ in range(2)]
    assert {response.provenance.cache for response in made} == {pb.CACHE_OUTCOME_OFF}


async def test_an_error_on_the_release_that_accepted_it_stands(application: CompiledApplication) -> None:
    worker = making(application, Live(application.release))
    with pytest.raises(NotFound):
        await worker.make(submitted(asked("nothing")))
    with pytest.raises(InvalidRequest, match="user_id"):
        await worker.make(submitted(pb.PredictRequest(pipeline="no_rule")))


async def test_an_error_on_an_older_release_may_pass(application: CompiledApplication) -> None:
    with pytest.raises(Unavailable, match="on release 1, the prediction was accepted on 2"):
        await making(application, Live(application.release)).make(submitted(asked("nothing"), release=2))


async def test_the_newer_release_is_waited_for(application: CompiledApplication) -> None:
    await application.write("profile", 1, age=30, income=5, children=1)
    live = Live(replace(application.release, pipelines={}))
    made = asyncio.create_task(making(application, live).make(submitted(asked(), release=2)))
    await asyncio.sleep(0)
    live.current = replace(application.release, number=2)
    assert pb.PredictResponse.FromString(await made).provenance.prediction_id == "ab" * 16


async def test_a_request_that_can_not_be_read_is_corrupt(application: CompiledApplication) -> None:
    bad = replace(submitted(asked()), request=b"\xff\xff")
    with pytest.raises(Corrupt):
        await making(application, Live(application.release)).make(bad)


def test_equal_requests_have_the_same_bytes_in_whatever_order_they_were_filled() -> None:
    one, other = pb.PredictRequest(), pb.PredictRequest()
    for request, numbers in ((one, range(50)), (other, reversed(range(50)))):
        for number in numbers:
            request.inputs[f"feature_{number}"].double_value = number
    assert request_bytes(one) == request_bytes(other)
