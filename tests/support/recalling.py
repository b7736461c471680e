"""A prediction cache on a manual clock: pipelines that declare `cache:`, requests for them, and a making of
answers whose duration and end a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
from forebay.deadline import Deadline
from forebay.v1 import prediction_pb2 as pb

from gateway.answer_wire import response_bytes
from gateway.batch import Answer, AnswerColumn, Member, Recalled
from gateway.inputs import Inputs
from gateway.plan import CompiledPipeline
from gateway.recall import Recall
from registry.dtypes import Scalar
from runtime.batcher import Criticality
from runtime.clock import ManualClock
from runtime.settings import RecallSettings
from tests.support.compiled_application import CompiledApplication, compiled_application

FRESH_S, STALE_S, BUDGET_S = 5.0, 60.0, 0.100
PIPELINES = """\
  cached: {entities: [user], hydrate: [profile, now], predict: plain, budget: {total: 100ms},
           cache: {fresh: 5s, stale: 60s}}
  fresh_only: {entities: [user], hydrate: [profile, now], predict: plain, cache: {fresh: 5s}}
  watched: {entities: [user], hydrate: [profile, now], predict: plain, budget: {total: 100ms},
            cache: {fresh: 5s, stale: 60s, invalidate_on: [now]}}
  standing_in: {entities: [user], hydrate: [profile, now], predict: plain,
                cache: {fresh: 5s, stale: 60s}, degrade: {predict: [stale_answer]}}
  only_standing_in: {entities: [user], hydrate: [profile, now], predict: plain,
                     degrade: {predict: [stale_answer]}}
"""


def recalling_application(directory: Path, clock: ManualClock) -> CompiledApplication:
    """Compile an application with pipelines that keep their answers."""
    return compiled_application(directory, clock, PIPELINES)


@dataclass
class Making:
    """Makes answers whose only score counts them, and keeps the members that they were made for."""

    takes_s: float = 0.010
    reason: str = ""
    """What the next answers are degraded by."""
    raises: BaseException | None = None
    recalled: Callable[[Member], Recalled | None] = lambda member: None
    stale_at_us: int | None = None
    members: list[Member] = field(default_factory=list)
    ended: int = 0

    @property
    def count(self) -> int:
        return len(self.members)

    async def __call__(self, member: Member) -> Answer | Recalled:
        self.members.append(member)
        number = len(self.members)
        reason, raises = self.reason, self.raises
        await asyncio.sleep(self.takes_s)
        self.ended += 1
        member.stages.append(("predict", 0.0, self.takes_s, 0.0))
        if raises is not None:
            raise raises
        found = self.recalled(member)
        if found is not None:
            return found
        if reason:
            member.degrade("hydrate", "now", reason, "DEFAULTS", 1)
        if self.stale_at_us is not None:
            member.stale_at_us = self.stale_at_us
        score = AnswerColumn("y", np.array([number], np.float32), Scalar.FLOAT32)
        return Answer(member, (), [score], (), member.oldest_as_of_us)


class Counter:
    """A cache, what makes its answers, and requests for it. `ask` starts one, `get` waits for it too."""

    def __init__(
        self, application: CompiledApplication, making: Making | None = None, **settings: float
    ) -> None:
        self.clock = application.clock
        self.release = application.release
        self.making = making or Making()
        self.recall = Recall(self.clock, RecallSettings(**settings), Random(0))  # type: ignore[arg-type]

    def member(
        self,
        pipeline: str | CompiledPipeline = "cached",
        user_id: int = 1,
        *,
        timeout_s: float = BUDGET_S,
        release: int = 1,
        top: int = 10_000,
        criticality: Criticality = Criticality.DEFAULT,
        raw: bytes = b"",
    ) -> Member:
        """Return an admitted request."""
        if isinstance(pipeline, str):
            pipeline = self.release.pipeline(pipeline)
        now_s = self.clock.monotonic_s()
        return Member(
            pipeline=replace(pipeline, release=release),
            criticality=criticality,
            inputs=Inputs({"user": str(user_id)}, {"user_id": user_id}),
            deadline=Deadline.after(timeout_s, now_s),
            work_until_s=now_s + timeout_s,
            give_up_s=now_s + timeout_s,
            admitted_s=now_s,
            top=top,
            return_features=(),
            candidates=None,
            prediction_id="",
            trace_id="",
            stages=[("admit", now_s, 0.0, timeout_s)],
            raw=raw,
        )

    async def get(self, *args: object, **options: object) -> Given:
        """Return what a request gets."""
        member = self.member(*args, **options)  # type: ignore[arg-type]
        return given(await self.recall.answer(member, self.making))

    def ask(self, *args: object, **options: object) -> asyncio.Task[Given]:
        """Start a request."""
        return asyncio.ensure_future(self.get(*args, **options))


@dataclass(frozen=True)
class Given:
    """What a request got: how, how old, which making's, with which degradations."""

    outcome: str
    age_s: float
    number: float
    reasons: list[str]
    stages: list[str]


def given(answer: Answer | Recalled) -> Given:
    """Return an answer as the wire tells it."""
    response = pb.PredictResponse.FromString(response_bytes(answer))
    (number,) = np.frombuffer(response.scores[0].values.data, np.float32)
    return Given(
        pb.CacheOutcome.Name(response.provenance.cache).removeprefix("CACHE_OUTCOME_"),
        response.provenance.cache_age_us / 1e6,
        float(number),
        [degradation.reason for degradation in response.degradations],
        [stage.stage for stage in response.provenance.stages],
    )
