"""Steps that can't be done in time: who goes on without them, when, and who waits. On a clock that only moves
while everybody waits."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from forebay.errors import Error, Overloaded, Unavailable

from gateway.batch import Answer, Batch, Recalled
from gateway.steps.step import Step, StepRunner
from runtime.clock import ManualClock
from tests.support import manual_loop
from tests.support.degrading_application import DegradingApplication, degrading_application, told

RULES = "{hydrate: {taste: defaults}, hydrate_candidates: {item: defaults, trend: stale}}"
WITHOUT_TASTE = ("hydrate", "taste", "TIMEOUT", "DEFAULTS")
Make = Callable[..., DegradingApplication]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models and the index, built once."""
    return tmp_path_factory.mktemp("degrading")


@pytest.fixture
def make(files: Path) -> Make:
    """Return a maker of applications whose pipelines do without any row and any index."""

    def application(**options: Any) -> DegradingApplication:
        options = {
            "degrade": RULES,
            "degrade_one": "{hydrate: {taste: defaults}}",
            "fallback": True,
        } | options
        return degrading_application(files, ManualClock(monotonic_s=0.0), **options)

    return application


def play(application: DegradingApplication, program: Coroutine[Any, Any, None]) -> None:
    """Run the program on the application's clock, with every row written."""

    async def all_of_it() -> None:
        await application.write_everything()
        await program
        await application.predictor.aclose()
        assert len(asyncio.all_tasks()) == 1, "a task is left over"

    assert isinstance(application.clock, ManualClock)
    manual_loop.run(all_of_it(), application.clock)


async def outcome(
    application: DegradingApplication, **options: Any
) -> tuple[Answer | Recalled | Error, float]:
    """Return an answer or error, and when it came."""
    try:
        answer: Answer | Recalled | Error = await application.predict(**options)
    except Error as error:
        answer = error
    return answer, application.clock.monotonic_s()


def test_only_the_member_whose_limit_passes_goes_on_without_the_step(make: Make) -> None:
    application = make()

    async def program() -> None:
        application.store.delay_s = 0.1
        (hurried, hurried_s), (patient, patient_s) = await asyncio.gather(
            outcome(application, pipeline="rating", timeout_s=0.05),
            outcome(application, pipeline="rating", user_id=2, timeout_s=1.0),
        )
        assert isinstance(hurried, Answer)
        assert isinstance(patient, Answer)
        assert told(hurried) == {WITHOUT_TASTE}
        assert hurried_s == pytest.approx(0.05, abs=0.003)
        assert told(patient) == set()
        assert patient_s == pytest.approx(0.1, abs=0.003)
        assert patient.scores[0].values.tolist() == [40.0]  # type: ignore[union-attr]

    play(application, program())
    assert application.store.reads == 1


def test_every_limit_parts_its_own_members(make: Make) -> None:
    application = make()

    async def program() -> None:
        application.store.delay_s = 0.5
        timeouts = [0.02, 0.05, 0.02, 0.9, 0.1]
        ended = await asyncio.gather(
            *[outcome(application, pipeline="rating", timeout_s=timeout) for timeout in timeouts]
        )
        for (answer, ended_s), timeout in zip(ended, timeouts, strict=True):
            assert isinstance(answer, Answer)
            assert ended_s == pytest.approx(min(timeout, 0.5), abs=0.003)
            assert told(answer) == (set() if timeout == 0.9 else {WITHOUT_TASTE})

    play(application, program())


def test_a_parted_member_takes_its_candidates_along(make: Make) -> None:
    application = make()

    async def program() -> None:
        whole, _ = await outcome(application)
        application.store.delay_s = 0.03  # the first read is in time for both, the second for one
        (hurried, _), (patient, _) = await asyncio.gather(
            outcome(application, timeout_s=0.05), outcome(application, user_id=2)
        )
        assert isinstance(whole, Answer)
        assert isinstance(hurried, Answer)
        assert isinstance(patient, Answer)
        assert sorted(keys(hurried)) == sorted(keys(whole)) == [3, 4, 5]
        assert sorted(keys(patient)) == [1, 2, 3]
        assert told(patient) == set()
        stage = "hydrate_candidates"
        assert told(hurried) == {(stage, view, "TIMEOUT", "DEFAULTS") for view in ("item", "trend")}

    play(application, program())


def keys(answer: Answer) -> list[int]:
    return list(answer.entities[0].values)  # type: ignore[arg-type]


def test_a_stage_says_what_it_was_given_and_spent(make: Make) -> None:
    application = make(budget="budget: {total: 1s, hydrate: 30ms}")

    async def program() -> None:
        application.store.delay_s = 0.1
        answer, _ = await outcome(application, pipeline="rating")
        assert isinstance(answer, Answer)
        (hydrate,) = [stage for stage in answer.member.stages if stage[0] == "hydrate"]
        assert hydrate[2] == pytest.approx(0.03, abs=0.003)
        assert hydrate[3] == pytest.approx(0.03)

    play(application, program())


def test_the_later_steps_keep_their_share_of_the_time(make: Make) -> None:
    application = make()

    async def program() -> None:
        application.runners["rating"].before = lambda: advance(application, 0.04)
        for _ in range(8):
            await outcome(application, pipeline="rating")
        application.store.delay_s = 0.2
        answer, _ = await outcome(application, pipeline="rating", timeout_s=0.1)
        assert isinstance(answer, Answer)
        assert told(answer) == {WITHOUT_TASTE}
        (hydrate,) = [stage for stage in answer.member.stages if stage[0] == "hydrate"]
        assert hydrate[3] == pytest.approx(0.1 - 0.001 - 1.2 * 0.04, abs=0.001)

    play(application, program())


def advance(application: DegradingApplication, seconds: float) -> None:
    assert isinstance(application.clock, ManualClock)
    application.clock.advance(seconds)


def test_a_step_is_not_started_when_it_takes_longer_than_is_left(make: Make) -> None:
    application = make()

    async def program() -> None:
        application.store.delay_s = 0.02
        for _ in range(8):
            await outcome(application, pipeline="rating")
        for _ in range(2):  # the first is let through, to see whether it still takes so long
            answer, _ = await outcome(application, pipeline="rating", timeout_s=0.01)
        assert isinstance(answer, Answer)
        assert told(answer) == {("hydrate", "taste", "NO_TIME", "DEFAULTS")}

    play(application, program())


def test_nobody_waits_for_a_store_that_is_gone_and_its_return_is_noticed(make: Make) -> None:
    application = make()

    async def program() -> None:
        application.store.gone = True
        for _ in range(200):
            answer, _ = await outcome(application, pipeline="rating")
            assert isinstance(answer, Answer)
            assert told(answer) == {("hydrate", "taste", "UNAVAILABLE", "DEFAULTS")}
            await asyncio.sleep(0.005)
        assert application.store.reads < 20  # five that closed the gate, then one in 100 ms
        application.store.gone = False
        await asyncio.sleep(0.1)
        await outcome(application, pipeline="rating")
        answer, _ = await outcome(application, pipeline="rating")
        assert isinstance(answer, Answer)
        assert told(answer) == set()

    play(application, program())


def test_a_pipeline_without_a_rule_fails_at_once_while_the_gate_is_closed(make: Make) -> None:
    application = make(degrade_one="{}")

    async def program() -> None:
        application.store.gone = True
        for _ in range(6):
            error, _ = await outcome(application, pipeline="rating")
            assert isinstance(error, Unavailable)
        assert "100 ms" in error.message

    play(application, program())


def test_a_store_that_stalls_holds_up_nobody_who_comes_later(make: Make) -> None:
    application = make()

    async def program() -> None:
        for _ in range(8):
            await outcome(application, pipeline="rating")
        application.store.delay_s = 10.0
        patient = asyncio.create_task(outcome(application, pipeline="rating", timeout_s=2.0))
        await asyncio.sleep(0.01)
        answer, ended_s = await outcome(application, pipeline="rating", timeout_s=0.1)
        assert isinstance(answer, Answer)
        assert ended_s == pytest.approx(0.11, abs=0.005)
        await patient

    play(application, program())


def test_a_member_without_a_vector_is_given_the_fallback_candidates(make: Make) -> None:
    application = make()

    async def program() -> None:
        (found, _), (strange, _) = await asyncio.gather(outcome(application), outcome(application, user_id=7))
        assert isinstance(found, Answer)
        assert isinstance(strange, Answer)
        assert keys(found) == [5, 4, 3]
        assert sorted(keys(strange)) == [2, 4, 9]
        assert ("retrieve", "items", "NOT_FOUND", "FALLBACK") in told(strange)
        assert told(found) == set()

    play(application, program())


@pytest.mark.parametrize("seed", range(15))
def test_nothing_leaks_and_nobody_is_late_when_half_of_the_calls_are_cancelled(make: Make, seed: int) -> None:
    application = make()
    chance = random.Random(seed)

    async def call(number: int) -> tuple[Any, float, float]:
        due_s = application.clock.monotonic_s() + chance.choice([0.01, 0.03, 0.2])
        timeout_s = due_s - application.clock.monotonic_s()
        pipeline = chance.choice(["items", "rating"])
        answer, ended_s = await outcome(
            application, pipeline=pipeline, user_id=1 + number % 2, timeout_s=timeout_s
        )
        return answer, ended_s, due_s

    async def program() -> None:
        tasks = []
        for number in range(120):
            application.store.delay_s = chance.choice([0.0, 0.0, 0.005, 0.05, 5.0])
            application.store.gone = chance.random() < 0.1
            tasks.append(asyncio.create_task(call(number)))
            if chance.random() < 0.5:
                chance.choice(tasks).cancel()
            await asyncio.sleep(chance.choice([0.0, 0.0, 0.001, 0.01]))
        waited_in_vain = 0
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, asyncio.CancelledError):
                continue
            assert not isinstance(ended, BaseException), ended
            answer, ended_s, due_s = ended
            assert ended_s <= due_s
            if isinstance(answer, Overloaded) or "recall" in getattr(answer, "message", ""):
                waited_in_vain += 1  # behind more stalled batches than may be, or too many others
            else:
                assert isinstance(answer, Answer), answer
        assert waited_in_vain < 20

    play(application, program())


async def test_parted_members_end_with_their_batch_when_it_is_cancelled_twice() -> None:
    class Parting(StepRunner):
        async def go_on(self, batch: Batch, steps: Sequence[Step], parted: list[asyncio.Task[None]]) -> None:
            parted.append(asyncio.create_task(asyncio.sleep(3600)))
            self.left = parted

    runner = Parting(ManualClock(), lambda members: None)
    running = asyncio.create_task(runner.run(cast(Batch, None), []))
    await asyncio.sleep(0)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(running, return_exceptions=True)
    assert [task.cancelled() for task in (running, *runner.left)] == [True, True]


def test_nothing_is_kept_of_pipelines_that_a_release_drops(make: Make) -> None:
    application = make()

    async def program() -> None:
        predictor, release = application.predictor, application.release
        for pipeline in ("items", "rating"):
            await application.predict(pipeline)
        assert set(predictor.admission.stats.pipelines) == {"items", "rating"}
        left = replace(release, pipelines={"items": release.pipelines["items"]})
        application.store.delay_s = 0.1
        under_way = asyncio.create_task(application.predict("rating"))
        await asyncio.sleep(0.01)
        predictor.keep_only(left)
        assert set(predictor.admission.stats.pipelines) == {"items", "rating"}, "it has a request under way"
        assert isinstance(await under_way, Answer)
        predictor.keep_only(left)
        assert set(predictor.admission.stats.pipelines) == {"items"}
        assert isinstance(await application.predict("rating"), Answer), "of a request that pins the old one"

    play(application, program())
