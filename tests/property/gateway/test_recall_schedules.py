"""Whatever callers, writers, releases and failures do, and in whatever order: every answer is one that the
request could have been made, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from forebay.errors import DeadlineExceeded, NotUsable, Unavailable
from forebay.v1 import prediction_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answer_wire import response_bytes
from gateway.batch import Answer, AnswerColumn, Member
from gateway.recall.recall import JITTER_RATIO
from registry.dtypes import Scalar
from runtime.clock import ManualClock
from tests.support import manual_loop
from tests.support.examples import examples
from tests.support.recalling import BUDGET_S, FRESH_S, STALE_S, Counter, recalling_application

USERS = st.sampled_from([1, 1, 1, 2])
ASK = st.tuples(st.just("ask"), USERS, st.sampled_from([0.005, 0.030, BUDGET_S, BUDGET_S]))
WAIT = st.tuples(
    st.just("wait"),
    st.sampled_from([0.0, 0.001, 0.007, 0.020, 0.020, 0.100, FRESH_S * 1.2, FRESH_S + STALE_S]),
)
REASONS = st.sampled_from(["", "", "", "NOT_FOUND", "STALE", "TIMEOUT"])
STEPS = st.one_of(
    ASK,
    WAIT,
    ASK,
    WAIT,
    st.tuples(st.just("write"), USERS),
    st.tuples(st.just("publish")),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("makings"), REASONS, st.sampled_from([False, False, False, True])),
    st.tuples(st.just("takes"), st.sampled_from([0.001, 0.010, 0.050])),
)


@dataclass
class Attempt:
    """One making: whose, of which release, and when."""

    user: str
    release: int
    began_s: float
    reason: str
    ended_s: float | None = None


@dataclass
class World:
    """Makes answers whose score is the number of the making; notes what nobody may see."""

    clock: ManualClock
    reason: str = ""
    fails: bool = False
    takes_s: float = 0.010
    attempts: list[Attempt] = field(default_factory=list)
    written_s: dict[str, float] = field(default_factory=dict)
    most_at_once: int = 0

    async def __call__(self, member: Member) -> Answer:
        attempt = Attempt(
            member.inputs.keys["user"], member.pipeline.release, self.clock.monotonic_s(), self.reason
        )
        number, fails = len(self.attempts), self.fails
        self.attempts.append(attempt)
        same = [
            one
            for one in self.attempts
            if (one.user, one.release, one.ended_s) == (attempt.user, attempt.release, None)
        ]
        self.most_at_once = max(self.most_at_once, len(same))
        await asyncio.sleep(self.takes_s)
        attempt.ended_s = self.clock.monotonic_s()
        if fails:
            raise Unavailable("gone") if attempt.reason else NotUsable("not so")
        if attempt.reason:
            member.degrade("hydrate", "now", attempt.reason, "DEFAULTS", 1)
        score = AnswerColumn("y", np.array([number], np.float32), Scalar.FLOAT32)
        return Answer(member, (), [score], (), 0)


class Callers:
    def __init__(self, counter: Counter, world: World) -> None:
        self.counter, self.world = counter, world
        self.tasks: list[asyncio.Task[None]] = []
        self.release = 1

    async def step(self, kind: str, *values: Any) -> None:
        world = self.world
        if kind == "ask":
            self.tasks.append(asyncio.ensure_future(self.ask(*values)))
            await asyncio.sleep(0)
        elif kind == "cancel" and values[0] < len(self.tasks):
            self.tasks[values[0]].cancel()
        elif kind == "wait":
            await asyncio.sleep(values[0])
        elif kind == "write":
            await asyncio.sleep(0.001)  # so that it is later than what began before
            world.written_s[str(values[0])] = world.clock.monotonic_s()
            self.counter.recall.wrote("now", [str(values[0])])
        elif kind == "publish":
            self.release += 1
            self.counter.recall.adopt(self.release)
        elif kind == "makings":
            world.reason, world.fails = values
        elif kind == "takes":
            (world.takes_s,) = values

    async def ask(self, user: int, timeout_s: float) -> None:
        clock, release = self.world.clock, self.release
        asked_s, written_s = clock.monotonic_s(), self.world.written_s.get(str(user))
        member = self.counter.member("watched", user, timeout_s=timeout_s, release=release)
        try:
            answer = await self.counter.recall.answer(member, self.world)
        except (DeadlineExceeded, Unavailable, NotUsable):
            assert clock.monotonic_s() <= asked_s + timeout_s + 1e-6
            return
        given_s = clock.monotonic_s()
        assert given_s <= asked_s + timeout_s + 1e-6
        response = pb.PredictResponse.FromString(response_bytes(answer))
        (number,) = np.frombuffer(response.scores[0].values.data, np.float32)
        attempt = self.world.attempts[int(number)]
        assert (attempt.user, attempt.release, response.provenance.release) == (str(user), release, release)
        assert [part.reason for part in response.degradations] == [attempt.reason] * bool(attempt.reason)
        if written_s is not None:
            assert attempt.began_s >= written_s
        self.check_age(response.provenance, attempt, asked_s, given_s)

    def check_age(self, provenance: pb.Provenance, attempt: Attempt, asked_s: float, given_s: float) -> None:
        outcome, age_s = provenance.cache, provenance.cache_age_us / 1e6
        if outcome == pb.CACHE_OUTCOME_MISS:
            assert (age_s, attempt.began_s >= asked_s) == (0, True)
            return
        assert abs(age_s - (given_s - attempt.began_s)) < 1e-5
        if outcome == pb.CACHE_OUTCOME_HIT:
            assert attempt.reason in ("", "NOT_FOUND")
            assert age_s <= FRESH_S * (1 + JITTER_RATIO)
        elif outcome == pb.CACHE_OUTCOME_STALE:
            assert attempt.reason == ""
            assert FRESH_S * (1 - JITTER_RATIO) <= age_s < FRESH_S + STALE_S
        else:
            assert outcome == pb.CACHE_OUTCOME_JOINED
            assert attempt.ended_s == given_s


with tempfile.TemporaryDirectory() as _directory:
    APPLICATION = recalling_application(Path(_directory), ManualClock())


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(STEPS, min_size=8, max_size=40))
def test_every_answer_is_one_that_could_have_been_made_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    clock = APPLICATION.clock

    async def program() -> None:
        world = World(clock)
        counter = Counter(APPLICATION)
        counter.recall.adopt(1)
        callers = Callers(counter, world)
        for step in steps:
            await callers.step(*step)
        ended = await asyncio.gather(*callers.tasks, return_exceptions=True)
        assert [end for end in ended if end is not None and not isinstance(end, asyncio.CancelledError)] == []
        await asyncio.sleep(BUDGET_S)
        assert world.most_at_once <= 2  # a refresh, and one for who can't wait for it
        assert len(asyncio.all_tasks()) == 1
        assert not counter.recall._tasks
        assert not len(counter.recall._flights)

    manual_loop.run(program(), clock)
