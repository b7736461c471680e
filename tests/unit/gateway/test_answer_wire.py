"""Answers as bytes: what is kept of one, and what another request gets of it."""

from __future__ import annotations

import sys

from forebay.v1 import prediction_pb2 as pb

from gateway.answer_wire import (
    AnswerWriter,
    RecordedBytes,
    degradation_message,
    keep,
    response_bytes,
    stage_message,
)
from gateway.batch import NEVER_US, Answer, Recalled
from gateway.convert import fill_column
from gateway.kept_answer import CacheOutcome
from tests.support.compiled_application import HOUR_US, CompiledApplication
from tests.support.pipeline_application import PipelineApplication


def parsed(answer: Answer | Recalled) -> pb.PredictResponse:
    return pb.PredictResponse.FromString(response_bytes(answer))


async def made(application: CompiledApplication, user_id: int = 1) -> Answer:
    answer = await application.predict("defaults", user_id, return_features=["profile.age", "now.clicks"])
    assert isinstance(answer, Answer)
    return answer


async def test_kept_answer_has_the_columns_and_the_origin_of_the_first_when_given_again(
    application: CompiledApplication,
) -> None:
    await application.write("profile", 1, age=30, income=1.0, children=2)
    await application.write("now", 1, clicks=5.0)
    first, second = await made(application), await made(application)
    kept = keep(first, application.clock.now_us())
    given = parsed(Recalled(second.member, kept, CacheOutcome.HIT, 7))
    alone = parsed(first)
    assert [list(given.entities), list(given.scores), list(given.features)] == [
        list(alone.entities),
        list(alone.scores),
        list(alone.features),
    ]
    assert (given.provenance.model, given.provenance.release) == ("plain", alone.provenance.release)
    assert given.provenance.oldest_as_of_us == alone.provenance.oldest_as_of_us > 0


async def test_answers_say_the_same_when_one_writer_writes_them_all(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows("user_view", user_id=[1, 2], tune=[[0, 0], [5, 0]], hum=[[0, 1], [9, 9]])
    await pipelines.write_rows("user_view", user_id=[3], hum=[[0, 2]])
    answers = [await pipelines.ask("merged_songs", user_id=user) for user in (1, 3, 2)]
    answers[1].member.degrade("predict", "plain", "TIMEOUT", "STALE_ANSWER", 1)
    del answers[2].member.stages[3:]
    recalled = Recalled(answers[2].member, keep(answers[1], 1), CacheOutcome.HIT, 7)
    writer = AnswerWriter()
    for answer in (*answers, recalled, answers[0]):
        assert pb.PredictResponse.FromString(writer.bytes(answer)) == parsed(answer)


async def test_answer_is_what_a_message_would_be_when_it_is_written_without_one(
    application: CompiledApplication,
) -> None:
    await application.write("profile", 1, age=30, income=1.0, children=2)
    answer = await made(application)
    member = answer.member
    member.stages.append(("late", member.admitted_s - 0.002, 20.0, -0.5))
    written = parsed(answer)
    expected = pb.PredictResponse()
    for messages, columns in (
        (expected.entities, answer.entities),
        (expected.scores, answer.scores),
        (expected.features, answer.features),
    ):
        for column in columns:
            fill_column(messages.add(), column.name, column.values, column.scalar, column.statuses)
    expected.degradations.extend([degradation_message(part) for part in member.degradations])
    retrieve, runner = member.pipeline.retrieve, member.pipeline.predict.runner
    assert retrieve is None
    expected.provenance.MergeFrom(
        pb.Provenance(
            prediction_id=member.prediction_id,
            release=member.pipeline.release,
            model=runner.name,
            model_version=runner.version,
            cache=pb.CACHE_OUTCOME_OFF,
            oldest_as_of_us=answer.oldest_as_of_us,
            stages=[stage_message(timing, member.admitted_s) for timing in member.stages],
            trace_id=member.trace_id,
        )
    )
    assert written == expected
    assert written.provenance.stages[-1].given_us == -500_000


async def test_writer_holds_no_pipeline_whose_answers_it_wrote(application: CompiledApplication) -> None:
    answer, writer = await made(application), AnswerWriter()
    pipeline = answer.member.pipeline
    before = sys.getrefcount(pipeline)
    writer.bytes(answer)
    assert sys.getrefcount(pipeline) == before


async def test_request_keeps_its_own_ids_and_stages_when_it_gets_a_kept_answer(
    application: CompiledApplication,
) -> None:
    first, second = await made(application), await made(application)
    del second.member.stages[2:]
    given = parsed(Recalled(second.member, keep(first, 1), CacheOutcome.STALE, 7)).provenance
    assert given.prediction_id == second.member.prediction_id != first.member.prediction_id
    assert [stage.stage for stage in given.stages] == ["admit", "recall"]
    assert (given.cache, given.cache_age_us) == (pb.CACHE_OUTCOME_STALE, 7)


async def test_degradations_of_both_are_reported_when_the_request_adds_its_own(
    application: CompiledApplication,
) -> None:
    await application.write("profile", 1, age=30, income=1.0, children=2)
    first, second = await made(application), await made(application)
    second.member.degradations = []
    second.member.degrade("predict", "plain", "TIMEOUT", "STALE_ANSWER", 1)
    kept = keep(first, 1)
    given = RecordedBytes(response_bytes(Recalled(second.member, kept, CacheOutcome.STALE, 7)))
    assert kept.degraded
    assert [(part.subject, part.reason) for part in given.degradations] == [
        ("now", "NOT_FOUND"),
        ("plain", "TIMEOUT"),
    ]
    assert given.provenance.prediction_id == second.member.prediction_id


async def test_kept_answer_says_when_its_first_row_grows_stale(application: CompiledApplication) -> None:
    now_us = application.clock.now_us()
    await application.write("profile", 1, age=30, income=1.0, children=2)
    await application.write("now", 1, clicks=5.0, written_us=now_us - HOUR_US // 2)
    answer = await made(application)
    assert keep(answer, now_us).stale_at_us == now_us + HOUR_US // 2


async def test_kept_answer_never_grows_stale_when_no_row_is_behind_it(
    application: CompiledApplication,
) -> None:
    assert keep(await made(application, 404), 1).stale_at_us == NEVER_US


def test_every_outcome_is_the_wires() -> None:
    assert {outcome.name: outcome.value for outcome in CacheOutcome} == {
        name.removeprefix("CACHE_OUTCOME_"): number
        for name, number in pb.CacheOutcome.items()
        if number != pb.CACHE_OUTCOME_UNSPECIFIED
    }
