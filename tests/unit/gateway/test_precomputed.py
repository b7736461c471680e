"""Precomputed answers given to requests: when one fits, when it doesn't, and what a failing store means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Unavailable
from forebay.v1 import prediction_pb2 as pb

from feature_store.memory_store import MemoryStore
from gateway.admit import PredictRequest, admit
from gateway.answer_wire import keep, response_bytes
from gateway.batch import Answer, Member, Recalled
from gateway.kept_answer import CacheOutcome
from gateway.precomputed.kept_bytes import StoredAnswer, packed
from gateway.precomputed.keys import AnswerKeys, KeyPart
from gateway.precomputed.plan import PrecomputedPlan
from gateway.precomputed.precomputed import STAGE, Precomputed
from registry.dtypes import DType
from registry.precomputed import PrecomputedPart
from runtime.batcher import Criticality
from runtime.clock import ManualClock
from tests.support.compiled_application import CompiledApplication

KEYS = AnswerKeys("rules", "stale", 1, [KeyPart(PrecomputedPart("user_id"), DType.parse("int64"))])
PLAN = PrecomputedPlan(
    is_first=True, keys=KEYS, top=0, features=("profile.age",), max_age_us=2 * 3_600_000_000
)


class Store(MemoryStore):
    """A store that can fail, and that counts reads."""

    error: Exception | None = None
    reads = 0

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return await super().get_many(keys, deadline)


def member(
    application: CompiledApplication, plan: PrecomputedPlan | None, *, features: Sequence[str] = ()
) -> Member:
    now_s = application.clock.monotonic_s()
    pipeline = replace(application.release.pipeline("stale"), precomputed=plan)
    return admit(
        PredictRequest(
            pipeline=pipeline,
            criticality=Criticality.DEFAULT,
            inputs={"user_id": _value(1)},
            candidates=(),
            top=None,
            return_features=features,
            deadline=Deadline.after(1.0, now_s),
            admitted_s=now_s,
            trace_id="",
            stages=[],
        )
    )


def _value(number: int) -> Any:
    request = pb.PredictRequest()
    request.inputs["user_id"].int64_value = number
    return request.inputs["user_id"]


@pytest.fixture
async def store(application: CompiledApplication, clock: ManualClock) -> Store:
    """A store that holds the answer for user 1, with the feature that was returned."""
    await application.write("profile", 1, age=30, income=2, children=1)
    await application.write("now", 1, clicks=4)
    answer = await application.predict("stale", return_features=["profile.age"])
    assert isinstance(answer, Answer)
    store = Store(clock)
    kept = keep(answer, clock.now_us())
    await store.load_many(KEYS.of(["1"]), [packed(StoredAnswer(kept, 1))])
    return store


async def test_answer_is_given_first_with_its_age_and_origin(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    clock.advance(60)
    found = await Precomputed(store, clock).first(member(application, PLAN))
    assert isinstance(found, Recalled)
    assert (found.outcome, found.age_us) == (CacheOutcome.PRECOMPUTED, 60_000_000)
    response = pb.PredictResponse.FromString(response_bytes(found))
    assert response.provenance.cache == pb.CACHE_OUTCOME_PRECOMPUTED
    assert response.provenance.cache_age_us == 60_000_000
    assert response.provenance.release == 1
    assert not response.degradations
    assert not response.features
    assert [timing[0] for timing in found.member.stages] == [STAGE]


async def test_nothing_is_read_when_the_pipeline_does_not_say_first(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    precomputed = Precomputed(store, clock)
    assert await precomputed.first(member(application, None)) is None
    assert await precomputed.first(member(application, replace(PLAN, is_first=False))) is None
    assert await precomputed.read(member(application, None), Deadline(1e9)) is None
    assert store.reads == 0


async def test_answer_is_given_as_fallback_when_the_pipeline_does_not_say_first(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    request = member(application, replace(PLAN, is_first=False))
    found = await Precomputed(store, clock).read(request, request.deadline)
    assert found is not None
    assert found.outcome is CacheOutcome.PRECOMPUTED


@pytest.mark.parametrize("error", [Unavailable("gone"), DeadlineExceeded("slow")])
async def test_store_that_fails_is_a_miss(
    application: CompiledApplication, store: Store, clock: ManualClock, error: Exception
) -> None:
    store.error = error
    request = member(application, PLAN)
    assert await Precomputed(store, clock).first(request) is None
    assert await Precomputed(store, clock).read(request, request.deadline) is None


async def test_store_that_is_gone_is_asked_once_in_a_while_until_it_is_back(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    precomputed = Precomputed(store, clock)
    store.error = Unavailable("gone")
    for _ in range(50):
        assert await precomputed.first(member(application, PLAN)) is None
    assert store.reads < 10
    store.error = None
    clock.advance(0.2)
    assert await precomputed.first(member(application, PLAN)) is not None
    assert await precomputed.first(member(application, PLAN)) is not None


async def test_bytes_that_are_no_answer_are_a_miss_and_told_once(
    application: CompiledApplication, store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await store.load_many(KEYS.of(["1"]), [b"garbage"])
    precomputed = Precomputed(store, clock)
    for _ in range(3):
        assert await precomputed.first(member(application, PLAN)) is None
    assert caplog.text.count("precomputed answers of pipeline stale can't be read") == 1


async def test_miss_when_the_answer_is_older_than_max_age(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    clock.advance(2 * 3600 + 1)
    assert await Precomputed(store, clock).first(member(application, PLAN)) is None


async def test_miss_when_a_returned_value_has_outlived_its_views_max_age(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    clock.advance(3601)
    precomputed = Precomputed(store, clock)
    assert await precomputed.first(member(application, PLAN, features=["profile.age"])) is None
    assert await precomputed.first(member(application, PLAN)) is not None


async def test_miss_when_a_feature_is_wanted_that_was_not_precomputed(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    precomputed = Precomputed(store, clock)
    assert await precomputed.first(member(application, PLAN, features=["profile.income"])) is None
    found = await precomputed.first(member(application, PLAN, features=["profile.age"]))
    assert found is not None
    assert [column.name for column in pb.PredictResponse.FromString(found.kept.body).features] == [
        "profile.age"
    ]


async def test_nothing_is_read_when_no_time_is_left(
    application: CompiledApplication, store: Store, clock: ManualClock
) -> None:
    request = member(application, PLAN)
    clock.advance(5)
    assert await Precomputed(store, clock).first(request) is None
    assert await Precomputed(store, clock).read(request, request.deadline) is None
    assert store.reads == 0
