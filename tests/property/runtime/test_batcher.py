"""Every submission ends exactly once, with what is its own, whatever is cancelled, fails or is late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from forebay.deadline import Deadline
from forebay.errors import Corrupt, DeadlineExceeded, Error, NotUsable, Overloaded, Unavailable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime.batcher import Batcher, BatchLimits, Criticality
from runtime.clock import ManualClock
from tests.support.examples import examples
from tests.support.manual_loop import ManualLoop

LIMITS = BatchLimits(members=4, rows=12, run_s=0.02, waiting=6, wait_s=0.2, probe_s=0.05, beside_stalled=1)
GOOD, BAD = "good", "bad"


class Submissions(RuleBasedStateMachine):
    """Submissions are tasks on a loop without time of its own; batches take as long as a rule has said."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(monotonic_s=0.0)
        self.runner = asyncio.Runner(loop_factory=lambda: ManualLoop(self.clock))
        self.loop = self.runner.get_loop()
        self.batcher: Batcher[tuple[int, str], int] = Batcher(self.work, self.clock, LIMITS, max_running=2)
        self.tasks: list[asyncio.Task[int]] = []
        self.deadlines_s: list[float] = []
        self.cancelled: set[int] = set()
        self.items: list[tuple[int, str]] = []
        self.ran: list[int] = []
        self.takes_s = 0.005
        self.raises = False
        self.running = 0

    async def work(self, items: Sequence[tuple[int, str]]) -> list[int | Error]:
        """Fail or answer as `takes_s` and `raises` said when the batch began."""
        raises = self.raises
        self.ran += [number for number, _ in items]
        self.running += 1
        assert self.running <= 3
        assert len(items) <= LIMITS.members
        assert len({kind for _, kind in items}) == 1, "one key per batch"
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.running -= 1
        if raises:
            raise Corrupt("the batch failed")
        return [number if kind == GOOD else NotUsable(str(number)) for number, kind in items]

    @rule(
        kind=st.sampled_from([GOOD, GOOD, GOOD, BAD]),
        timeout_s=st.sampled_from([0.0, 0.001, 0.006, 0.02, 0.1, 5.0]),
        criticality=st.sampled_from(list(Criticality)),
        rows=st.sampled_from([1, 1, 5, 20]),
        count=st.integers(1, 5),
    )
    def submit(self, kind: str, timeout_s: float, criticality: Criticality, rows: int, count: int) -> None:
        for _ in range(count):
            item = (len(self.tasks), kind)
            deadline = Deadline.after(timeout_s, self.clock.monotonic_s())
            submission = self.batcher.submit(
                item, key=kind, rows=rows, deadline=deadline, criticality=criticality
            )
            self.items.append(item)
            self.deadlines_s.append(deadline.at_s)
            self.tasks.append(self.loop.create_task(submission))

    @rule(turns=st.integers(1, 4))
    def turn(self, turns: int) -> None:
        async def program() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.runner.run(program())

    @rule(seconds=st.sampled_from([0.0005, 0.003, 0.01, 0.05, 0.3]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.tasks) - 1))
        if self.tasks[number].cancel():
            self.cancelled.add(number)

    @rule(takes_s=st.sampled_from([0.0, 0.001, 0.005, 0.03, 0.2]), raises=st.booleans())
    def change_work(self, takes_s: float, raises: bool) -> None:
        self.takes_s, self.raises = takes_s, raises

    @invariant()
    def rows_are_counted_as_entries_are(self) -> None:
        schedule = self.batcher._schedule
        assert schedule.waiting_count >= 0
        assert schedule.waiting_count or schedule._waiting_rows == 0

    @invariant()
    def everybody_runs_once_at_the_most(self) -> None:
        assert len(self.ran) == len(set(self.ran))

    @invariant()
    def nobody_is_kept_beyond_the_deadline(self) -> None:
        now_s = self.clock.monotonic_s()
        late = [
            number
            for number, task in enumerate(self.tasks)
            if not task.done() and now_s > self.deadlines_s[number] + 0.002
        ]
        assert late == []

    def teardown(self) -> None:
        try:
            self.runner.run(self.close())
            self.check_ends()
        finally:
            self.runner.close()

    async def close(self) -> None:
        closing = asyncio.create_task(self.batcher.aclose())
        if self.tasks:
            await asyncio.wait(self.tasks)
        await closing

    def check_ends(self) -> None:
        for (number, kind), task in zip(self.items, self.tasks, strict=True):
            if task.cancelled():
                assert number in self.cancelled, "nobody is cancelled but by its own"
                continue
            error = task.exception()
            if error is None:
                assert (task.result(), kind) == (number, GOOD)
            elif isinstance(error, NotUsable):
                assert (error.message, kind) == (str(number), BAD)
            else:
                assert isinstance(error, Corrupt | DeadlineExceeded | Overloaded | Unavailable)
            if isinstance(error, NotUsable | Corrupt) or error is None:
                assert number in self.ran
            if isinstance(error, Overloaded):
                assert number not in self.ran
        stats = self.batcher.stats
        counted = stats.answered + stats.failed + stats.cancelled + stats.refused + stats.displaced
        never_began = len(self.tasks) - counted - stats.expired_waiting - stats.expired_running
        assert 0 <= never_began <= len(self.cancelled), "a task can be cancelled before it submits"
        assert stats.members == len(self.ran)
        schedule = self.batcher._schedule
        assert (schedule.waiting_count, schedule._waiting_rows, schedule.running) == (0, 0, [])


def test_every_submission_ends_once_whatever_happens() -> None:
    run_state_machine_as_test(
        Submissions, settings=settings(max_examples=examples(150), stateful_step_count=30, deadline=None)
    )
