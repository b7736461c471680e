"""Who submits gets an answer of their own, whatever happens to the others in the batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from itertools import combinations
from typing import Any, TypeVar

import pytest
from forebay.deadline import Deadline
from forebay.errors import (
    Corrupt,
    DeadlineExceeded,
    Error,
    Internal,
    InvalidRequest,
    NotUsable,
    Overloaded,
    Unavailable,
)

from runtime.batcher import Batcher, BatchLimits, Criticality
from runtime.clock import ManualClock
from tests.support import manual_loop

T = TypeVar("T")

FOUR = ["a", "b", "c", "d"]
SUBSETS = [subset for size in range(5) for subset in combinations(FOUR, size)]
caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Work:
    """Takes `takes_s`, and answers each item in upper case; keeps the batches it was given."""

    def __init__(self, takes_s: float = 0.010) -> None:
        self.takes_s = takes_s
        self.batches: list[list[str]] = []
        self.ended = 0
        self.raises: BaseException | None = None
        self.answers: dict[str, Error] = {}
        self.at_end: Callable[[], object] = lambda: None

    async def __call__(self, items: Sequence[str]) -> list[str | Error]:
        self.batches.append(list(items))
        await asyncio.sleep(self.takes_s)
        self.ended += 1
        at_end, self.at_end = self.at_end, lambda: None
        asyncio.get_running_loop().call_soon(at_end)
        if self.raises is not None:
            raise self.raises
        return [self.answers.get(item, item.upper()) for item in items]


class Bench:
    """A batcher, its work and its clock. Submissions are tasks; the first occupies the batcher."""

    def __init__(self, work: Work | None = None, *, max_running: int = 1, **limits: Any) -> None:
        self.clock = ManualClock(monotonic_s=0.0)
        self.work = work or Work()
        limits = {"run_s": 1.0, "wait_s": 60.0, "beside_stalled": 0} | limits
        self.batcher: Batcher[str, str] = Batcher(
            self.work, self.clock, BatchLimits(**limits), max_running=max_running
        )

    def run(self, program: Coroutine[Any, Any, T]) -> T:
        return manual_loop.run(program, self.clock)

    def submit(self, item: str, timeout_s: float = 60.0, **options: Any) -> asyncio.Task[str]:
        deadline = Deadline.after(timeout_s, self.clock.monotonic_s())
        return asyncio.create_task(self.batcher.submit(item, deadline=deadline, **options))

    async def occupied(self) -> asyncio.Task[str]:
        """Return the submission that runs alone."""
        return await self.occupied_by("first")

    async def occupied_by(self, item: str) -> asyncio.Task[str]:
        """Return the submission that runs alone, of this item."""
        first = self.submit(item)
        await turns(3)
        assert self.work.batches[-1] == [item]
        return first


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def ends(tasks: Sequence[asyncio.Task[str]]) -> list[str | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_submission_runs_at_once_when_nothing_runs() -> None:
    bench = Bench()

    async def program() -> None:
        assert await bench.submit("a") == "A"
        assert bench.clock.monotonic_s() == pytest.approx(0.010)
        await asyncio.sleep(5)
        assert await bench.submit("b") == "B"
        assert bench.clock.monotonic_s() == pytest.approx(5.020)

    bench.run(program())
    assert bench.batcher.stats.waited_s == 0.0


def test_submissions_of_one_turn_share_the_first_batch() -> None:
    bench = Bench()
    assert bench.run(gathered(bench)) == ["A", "B", "C", "D"]
    assert bench.work.batches == [FOUR]


async def gathered(bench: Bench) -> list[str | BaseException]:
    return await ends([bench.submit(item) for item in FOUR])


def test_submissions_share_the_next_batch_when_one_runs() -> None:
    bench = Bench()

    async def program() -> list[str | BaseException]:
        first = await bench.occupied()
        return await ends([first, *[bench.submit(item) for item in FOUR]])

    assert bench.run(program()) == ["FIRST", "A", "B", "C", "D"]
    assert bench.work.batches == [["first"], FOUR]
    assert bench.clock.monotonic_s() == pytest.approx(0.020)


async def stalled(bench: Bench, count: int) -> list[asyncio.Task[str]]:
    """Return `count` submissions whose batches take a second each, where 10 ms are expected."""
    for item in ("warm", "warmer"):
        await bench.submit(item)
    await asyncio.sleep(0.01)
    bench.work.takes_s = 1.0
    tasks = []
    for number in range(count):
        tasks.append(bench.submit(f"stalled {number}"))
        await asyncio.sleep(0.05)
    return tasks


def test_others_run_beside_a_batch_that_takes_far_longer_than_expected() -> None:
    bench = Bench(beside_stalled=1)

    async def program() -> float:
        tasks = await stalled(bench, 1)
        bench.work.takes_s = 0.010
        assert await bench.submit("x", timeout_s=0.1) == "X"
        ended_s = bench.clock.monotonic_s()
        assert await tasks[0] == "STALLED 0"
        return ended_s

    assert bench.run(program()) < 0.2
    assert bench.batcher.stats.stalls == 1


def test_no_more_run_beside_the_stalled_than_may() -> None:
    bench = Bench(beside_stalled=2)

    async def program() -> None:
        tasks = await stalled(bench, 4)
        assert bench.work.batches[2:] == [[f"stalled {number}"] for number in range(3)]
        assert await ends(tasks) == [f"STALLED {number}" for number in range(4)]
        bench.work.takes_s = 0.010
        assert await bench.submit("x") == "X"

    bench.run(program())
    assert bench.batcher.stats.answered == 7


def test_a_submission_is_answered_before_its_batch_ends_when_its_result_is_known() -> None:
    bench = Bench()

    async def program() -> None:
        first, second = bench.submit("first"), bench.submit("second")
        await asyncio.sleep(0.004)
        bench.batcher.answer("first", "early")
        bench.batcher.answer("nobody", "early")
        assert await first == "early"
        assert bench.clock.monotonic_s() == pytest.approx(0.004)
        assert await second == "SECOND"

    bench.run(program())
    assert bench.batcher.stats.answered == 2


def test_what_a_batch_could_do_without_is_not_learnt() -> None:
    bench = Bench()

    async def program() -> None:
        for _ in range(4):
            await bench.submit("usual")
        bench.work.takes_s = 1.0
        for _ in range(4):
            stuck = bench.submit("stuck")
            await turns(3)
            bench.batcher.discount("stuck", 0.99)
            await stuck
        bench.work.takes_s = 0.010
        occupying = bench.submit("a")
        await turns(3)
        assert await bench.submit("b", timeout_s=0.05) == "B"
        await occupying

    bench.run(program())


def test_only_one_key_is_in_a_batch() -> None:
    bench = Bench()

    async def program() -> None:
        await bench.occupied()
        await ends([bench.submit(item, key=item in "bd") for item in FOUR])

    bench.run(program())
    assert bench.work.batches == [["first"], ["a", "c"], ["b", "d"]]


def test_the_critical_run_first() -> None:
    bench = Bench(members=2)

    async def program() -> None:
        first = await bench.occupied()
        ranks = [Criticality.SHEDDABLE, Criticality.DEFAULT, Criticality.DEFAULT, Criticality.CRITICAL]
        tasks = [bench.submit(item, criticality=rank) for item, rank in zip(FOUR, ranks, strict=True)]
        await ends([first, *tasks])

    bench.run(program())
    assert bench.work.batches == [["first"], ["d", "b"], ["c", "a"]]


def test_two_batches_run_when_two_may() -> None:
    bench = Bench(max_running=2)

    async def program() -> None:
        tasks = [bench.submit("a")]
        await turns(3)
        tasks.append(bench.submit("b"))
        await turns(3)
        assert bench.work.batches == [["a"], ["b"]]
        await ends([*tasks, bench.submit("c"), bench.submit("d")])

    bench.run(program())
    assert bench.work.batches == [["a"], ["b"], ["c", "d"]]
    assert bench.clock.monotonic_s() == pytest.approx(0.020)


def test_a_second_batch_starts_for_those_who_had_no_room_in_the_first() -> None:
    bench = Bench(max_running=2, members=2)
    assert bench.run(gathered(bench)) == ["A", "B", "C", "D"]
    assert bench.work.batches == [["a", "b"], ["c", "d"]]
    assert bench.clock.monotonic_s() == pytest.approx(0.010)


def test_those_who_were_answered_go_on_before_the_next_batch_begins() -> None:
    """Though the work never waits; and what they submit then is in the next batch."""
    bench, batches = Bench(members=2), []

    async def run(items: Sequence[str]) -> Sequence[str]:
        batches.append(list(items))
        return items

    bench.batcher = Batcher(run, bench.clock, BatchLimits(members=3))

    async def twice(item: str) -> None:
        await bench.batcher.submit(item)
        await bench.batcher.submit(item * 2)

    async def program() -> None:
        await asyncio.gather(*[twice(item) for item in FOUR])

    bench.run(program())
    assert batches == [["a", "b", "c"], ["d", "aa", "bb"], ["cc", "dd"]]


@pytest.mark.parametrize("cancelled", SUBSETS)
def test_nobody_else_is_affected_when_members_of_a_running_batch_are_cancelled(
    cancelled: tuple[str, ...],
) -> None:
    bench = Bench()

    async def program() -> None:
        tasks = {item: bench.submit(item) for item in FOUR}
        await turns(3)
        for item in cancelled:
            tasks[item].cancel()
        results = dict(zip(FOUR, await ends(list(tasks.values())), strict=True))
        assert {item for item in FOUR if tasks[item].cancelled()} == set(cancelled)
        assert all(results[item] == item.upper() for item in FOUR if item not in cancelled)
        assert await bench.submit("after") == "AFTER"

    bench.run(program())
    assert bench.work.batches[0] == FOUR
    assert bench.batcher.stats.cancelled == len(cancelled)


@pytest.mark.parametrize("cancelled", SUBSETS)
def test_the_cancelled_never_run_when_they_still_wait(cancelled: tuple[str, ...]) -> None:
    bench = Bench()

    async def program() -> None:
        first = await bench.occupied()
        tasks = {item: bench.submit(item) for item in FOUR}
        await turns(3)
        for item in cancelled:
            tasks[item].cancel()
        await ends([first, *tasks.values()])
        assert await bench.submit("after") == "AFTER"

    bench.run(program())
    kept = [item for item in FOUR if item not in cancelled]
    assert bench.work.batches == [["first"], *([kept] if kept else []), ["after"]]


@pytest.mark.parametrize("cancelled", SUBSETS)
def test_the_cancelled_never_run_when_their_batch_is_about_to_start(cancelled: tuple[str, ...]) -> None:
    """In the very turn in which it starts, before the cancelled submitters themselves know."""
    bench = Bench()

    async def program() -> None:
        first = await bench.occupied()
        tasks = {item: bench.submit(item) for item in FOUR}
        await turns(2)
        bench.work.at_end = lambda: [tasks[item].cancel() for item in cancelled]
        await ends([first, *tasks.values()])
        await turns(1)

    bench.run(program())
    kept = [item for item in FOUR if item not in cancelled]
    assert bench.work.batches == [["first"], *([kept] if kept else [])]


@pytest.mark.parametrize("failing", SUBSETS)
def test_an_error_of_its_own_fails_only_its_submission(failing: tuple[str, ...]) -> None:
    bench = Bench()
    bench.work.answers = {item: NotUsable(f"{item} is bad", field=item) for item in failing}
    results = dict(zip(FOUR, bench.run(gathered(bench)), strict=True))
    for item in FOUR:
        if item in failing:
            error = results[item]
            assert isinstance(error, NotUsable)
            assert (error.message, error.field) == (f"{item} is bad", item)
        else:
            assert results[item] == item.upper()


def test_every_member_gets_an_error_of_its_own_when_the_batch_fails() -> None:
    bench = Bench()
    bench.work.raises = Overloaded("the store is full", retry_after_s=3.0, field="x", shard="7")
    errors = bench.run(gathered(bench))
    assert len({id(error) for error in errors}) == 4
    for error in errors:
        assert isinstance(error, Overloaded)
        assert (error.message, error.retry_after_s, error.field, error.metadata) == (
            "the store is full",
            3.0,
            "x",
            {"shard": "7"},
        )
        assert error.__cause__ is bench.work.raises


def test_one_error_given_to_several_items_reaches_each_as_its_own() -> None:
    bench = Bench()
    shared = InvalidRequest("no")
    bench.work.answers = dict.fromkeys(FOUR, shared)
    errors = bench.run(gathered(bench))
    assert len({id(error) for error in errors}) == 4
    assert all(isinstance(error, InvalidRequest) for error in errors)


class Particular(Exception):
    """Can't be copied: its constructor wants what it doesn't keep."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}", code)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(ZeroDivisionError("oh"), ZeroDivisionError), (Particular(code=3), RuntimeError)],
)
def test_whatever_is_raised_reaches_every_member(raised: Exception, kind: type[Exception]) -> None:
    bench = Bench()
    bench.work.raises = raised
    errors = bench.run(gathered(bench))
    assert [type(error) for error in errors] == [kind] * 4


def test_a_failure_before_the_first_await_reaches_every_member() -> None:
    bench = Bench()

    def run(items: Sequence[str]) -> Any:
        raise StopIteration

    bench.batcher = Batcher(run, bench.clock)
    errors = bench.run(gathered(bench))
    assert [type(error) for error in errors] == [RuntimeError] * 4


def test_members_fail_when_the_work_cancels_itself() -> None:
    bench = Bench()
    bench.work.raises = asyncio.CancelledError()
    errors = bench.run(gathered(bench))
    assert [type(error) for error in errors] == [Unavailable] * 4


@pytest.mark.parametrize("count", [0, 3, 5])
def test_everybody_gets_an_internal_error_when_results_are_miscounted(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()

    async def run(items: Sequence[str]) -> list[str]:
        return ["x"] * count

    bench.batcher = Batcher(run, bench.clock)
    with caplog.at_level(logging.ERROR):
        errors = bench.run(gathered(bench))
    assert all(isinstance(error, Internal) for error in errors)
    assert isinstance(errors[0], Internal)
    assert errors[0].metadata["id"] in caplog.text


def test_the_next_batch_runs_when_one_has_failed() -> None:
    bench = Bench()

    async def program() -> None:
        bench.work.raises = Corrupt("bad bytes")
        await ends([bench.submit("a")])
        bench.work.raises = None
        assert await bench.submit("b") == "B"

    bench.run(program())


def test_a_member_is_told_at_its_deadline_when_its_batch_runs_longer() -> None:
    bench = Bench(Work(takes_s=1.0))

    async def program() -> None:
        hurried, patient = bench.submit("a", timeout_s=0.3), bench.submit("b", timeout_s=5.0)
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert bench.clock.monotonic_s() == pytest.approx(0.3, abs=0.002)
        assert await patient == "B"
        assert bench.clock.monotonic_s() == pytest.approx(1.0)

    bench.run(program())
    assert bench.batcher.stats.expired_running == 1


def test_those_who_wait_are_told_at_their_deadline() -> None:
    bench = Bench(Work(takes_s=1.0))

    async def program() -> None:
        first = await bench.occupied()
        for timeout_s in (0.1, 0.2, 0.25):
            with pytest.raises(DeadlineExceeded):
                await bench.submit("late", timeout_s=timeout_s)
        assert bench.clock.monotonic_s() == pytest.approx(0.55, abs=0.01)
        assert await first == "FIRST"

    bench.run(program())
    assert bench.work.batches == [["first"]]
    assert bench.batcher.stats.expired_waiting == 3


def test_deadlines_cost_one_timer_in_all() -> None:
    bench = Bench()

    async def program() -> None:
        loop = asyncio.get_running_loop()
        tasks = [bench.submit(str(at), timeout_s=1.0 + at / 1000) for at in range(50)]
        await turns(3)
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert len(timers) == 2, "the sweep, and the work's own sleep"
        await ends(tasks)

    bench.run(program())


def test_a_submission_is_refused_when_its_turn_would_come_too_late() -> None:
    bench = Bench(Work(takes_s=1.0))

    async def program() -> None:
        await bench.submit("teaches what it takes")
        first = bench.submit("first")
        await turns(3)
        with pytest.raises(Overloaded) as refused:
            await bench.submit("a", timeout_s=0.5)
        assert refused.value.retry_after_s == pytest.approx(1.0, rel=0.1)
        assert await first == "FIRST"

    bench.run(program())
    assert bench.batcher.stats.refused == 1


def test_a_submission_is_told_at_once_when_it_takes_longer_than_it_has() -> None:
    bench = Bench(Work(takes_s=0.050))

    async def program() -> None:
        await bench.submit("teaches what it takes")
        with pytest.raises(DeadlineExceeded) as told:
            await bench.submit("a", timeout_s=0.040)
        assert told.value.metadata == {"reason": "NO_TIME"}
        assert bench.clock.monotonic_s() == pytest.approx(0.050)

    bench.run(program())


def test_the_least_critical_give_way_when_the_queue_is_full() -> None:
    bench = Bench(waiting=1)

    async def program() -> None:
        first = await bench.occupied()
        sheddable = bench.submit("a", criticality=Criticality.SHEDDABLE)
        await turns(1)
        critical = bench.submit("b", criticality=Criticality.CRITICAL)
        with pytest.raises(Overloaded) as displaced:
            await sheddable
        assert displaced.value.retry_after_s is not None
        with pytest.raises(Overloaded):
            await bench.submit("c")
        assert await ends([first, critical]) == ["FIRST", "B"]

    bench.run(program())
    stats = bench.batcher.stats
    assert (stats.displaced, stats.refused, stats.answered) == (1, 1, 2)


def test_cancelled_submissions_make_room_in_a_full_queue() -> None:
    bench = Bench(waiting=2)

    async def program() -> None:
        await bench.occupied()
        for _ in range(500):
            task = bench.submit("a")
            await turns(1)
            task.cancel()
            await turns(2)
        assert await bench.submit("b") == "B"

    bench.run(program())
    assert bench.batcher.stats.refused == 0


def test_work_runs_in_the_context_in_which_the_batcher_was_made() -> None:
    """Not in the first submitter's: what it put there, as a trace, isn't the others'."""
    seen = []

    async def run(items: Sequence[str]) -> Sequence[str]:
        seen.append(caller.get())
        return items

    bench = Bench()
    bench.batcher = Batcher(run, bench.clock)

    async def program() -> None:
        caller.set("somebody")
        await bench.batcher.submit("a")

    bench.run(program())
    assert seen == ["nobody"]


def test_closing_fails_those_who_wait_and_lets_the_running_end() -> None:
    bench = Bench()

    async def program() -> None:
        first = await bench.occupied()
        waiting = [bench.submit(item) for item in FOUR]
        await turns(1)
        await bench.batcher.aclose()
        assert bench.work.ended == 1
        assert await first == "FIRST"
        assert [type(error) for error in await ends(waiting)] == [Unavailable] * 4
        with pytest.raises(Unavailable):
            await bench.submit("after")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await bench.batcher.aclose()

    bench.run(program())


def test_closing_ends_the_running_batches_when_it_is_cancelled_itself() -> None:
    bench = Bench(Work(takes_s=3600.0))

    async def program() -> None:
        first = bench.submit("first", timeout_s=7200.0)
        await turns(3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await bench.batcher.aclose()
        with pytest.raises(Unavailable):
            await first
        assert bench.clock.monotonic_s() == pytest.approx(1.0)

    bench.run(program())


@pytest.mark.parametrize("started", [False, True])
def test_nobody_waits_for_ever_when_the_worker_is_ended_from_outside(started: bool) -> None:
    bench = Bench()

    async def program() -> None:
        tasks = [bench.submit(item) for item in FOUR]
        await turns(3 if started else 1)
        late = bench.submit("late")
        await turns(1)
        workers = [task for task in asyncio.all_tasks() if task.get_name() == "batcher"]
        assert [worker.cancel() for worker in workers] == [True]
        errors = await ends([*tasks, late])
        assert [type(error) for error in errors] == [Unavailable] * 5
        assert await bench.submit("after") == "AFTER"

    bench.run(program())


def test_nothing_is_left_behind_when_everybody_was_answered() -> None:
    bench = Bench()

    async def program() -> None:
        await gathered(bench)
        await turns(2)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    bench.run(program())


def test_stats_tell_batches_sizes_and_waits() -> None:
    bench = Bench()

    async def program() -> None:
        first = await bench.occupied()
        await asyncio.sleep(0.004)
        await ends([first, *[bench.submit(item, rows=10) for item in FOUR]])

    bench.run(program())
    stats = bench.batcher.stats
    assert (stats.batches, stats.members, stats.rows, stats.answered) == (2, 5, 41, 5)
    assert stats.sizes[:4] == [1, 0, 1, 0]
    assert stats.waited_s == pytest.approx(4 * 0.006)
    assert stats.longest_wait_s == pytest.approx(0.006)
    assert stats.run_s == pytest.approx(0.020)


def test_batches_that_fail_at_once_do_not_pass_for_fast_ones() -> None:
    bench = Bench(Work(takes_s=0.010), members=1)

    async def program() -> None:
        for item in "abc":
            await bench.submit(item)
        bench.work.takes_s, bench.work.raises = 0.0, Unavailable("the store is gone")
        await ends([bench.submit(item) for item in FOUR])
        bench.work.takes_s, bench.work.raises = 0.010, None
        first = await bench.occupied_by("x")
        with pytest.raises(Overloaded):
            await bench.submit("y", timeout_s=0.015)
        await first

    bench.run(program())


def test_who_would_be_late_if_it_started_now_is_told_at_once() -> None:
    bench = Bench(Work(takes_s=0.010))

    async def program() -> None:
        for item in "abc":
            await bench.submit(item)
        before_s = bench.clock.monotonic_s()
        with pytest.raises(DeadlineExceeded, match="too little time was left"):
            await bench.submit("d", timeout_s=0.009)
        assert bench.clock.monotonic_s() == before_s
        assert len(bench.work.batches) == 3
        assert bench.batcher.stats.expired_waiting == 1
        await asyncio.sleep(0.2)
        bench.work.takes_s = 0.001  # it is faster by now, and only a try can show it
        assert await bench.submit("e", timeout_s=0.009) == "E"

    bench.run(program())


def test_nobody_is_let_in_between_batches_when_a_full_one_waits() -> None:
    """Each turn of a loop that is flooded costs as much as a refusal."""
    bench = Bench(members=1)

    async def program() -> int:
        first = await bench.occupied()
        others = [bench.submit(item) for item in FOUR]
        await first
        passed = 0
        while len(bench.work.batches) < 2:
            await asyncio.sleep(0)
            passed += 1
        await ends(others)
        return passed

    assert bench.run(program()) <= 3
