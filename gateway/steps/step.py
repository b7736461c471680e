"""How a step runs that depends on something: a gate before it, each member's own limit while it runs, and
its declared fallback for those who can't wait. What the steps do is in their own files; `predict.py` lists
them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, Internal, NotUsable, Unavailable

from gateway.batch import Batch, Member
from runtime.clock import Clock
from runtime.gate import Gate, Verdict

logger = logging.getLogger(__name__)

_CAUTION_RATIO = 1.2
"""What the expected durations of later steps are multiplied by before time is kept for them."""
_USUAL_RATIO, _USUAL_S = 2.0, 0.001
"""What a step may take whatever the later ones are expected to: so many times what it usually takes, and a
little more. To skip a short step for a long one gains the long one nothing."""


def _nobody(batch: Batch) -> list[int]:
    return []


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a pipeline. `work` fills in its part of the batch before the deadline, or raises."""

    name: str
    work: Callable[[Batch, Deadline], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DependentStep(Step):
    """A step that depends on something, and that a pipeline may declare how to do without.

    `gate` and `size` give the gate of what the work depends on, and how many rows it takes. `is_spare` tells
    whether the batch's pipeline says what to do without it; then `without` does that, given the reason of the
    `Degradation` and the error that members fail with whom it can't help.
    """

    gate: Callable[[Batch], Gate]
    size: Callable[[Batch], int]
    is_spare: Callable[[Batch], bool]
    without: Callable[[Batch, str, Error], Awaitable[None]]
    helpless: Callable[[Batch], list[int]] = _nobody
    """The places of members that the work can't help, asked where the step is spare."""
    divides: bool = False
    """Whether one member's data can make the work fail for all: then it is tried again on each half."""


class StepRunner:
    """Takes batches through steps, within what deadlines, caps and the later steps leave each of them.

    `deliver` is given members that were parted from their batch and have ended before it.
    """

    def __init__(self, clock: Clock, deliver: Callable[[Sequence[Member]], None]) -> None:
        self.monotonic_s = clock.monotonic_s
        self._deliver = deliver

    async def run(self, batch: Batch, steps: Sequence[Step]) -> None:
        """Take a batch through all steps. At the end every member has an answer or an error."""
        parted: list[asyncio.Task[None]] = []
        try:
            await self.go_on(batch, steps, parted)
        finally:
            await _ended(parted)

    async def go_on(self, batch: Batch, steps: Sequence[Step], parted: list[asyncio.Task[None]]) -> None:
        """Take a batch through these steps; members that leave it go on in tasks that `parted` collects."""
        for place, step in enumerate(steps):
            if batch.ended:
                return
            start_s = self.monotonic_s()
            if not isinstance(step, DependentStep):
                await self._run(batch, step, start_s)
                continue
            later = steps[place + 1 :]
            if step.is_spare(batch) or not await self._run_needed(batch, step, later, parted, start_s):
                await _Attempt(self, batch, step, later, parted, start_s).make()

    async def go_apart(
        self,
        batch: Batch,
        step: DependentStep,
        without: tuple[str, Error] | None,
        later: Sequence[Step],
        parted: list[asyncio.Task[None]],
    ) -> None:
        """Take members that were parted through the later steps, `without` this one for that reason, or
        (None) by trying it again; deliver them."""
        try:
            if without is None:
                later = (step, *later)
            else:
                await _do_without(batch, step, *without)
            await self.go_on(batch, later, parted)
        except Exception as bug:
            identity = secrets.token_hex(8)
            logger.exception("internal error %s after %s", identity, step.name, exc_info=bug)
            batch.fail(Internal(f"internal error {identity}", id=identity))
        self._deliver(batch.members)

    async def _run(self, batch: Batch, step: Step, start_s: float) -> None:
        """Run a step that depends on nothing."""
        last_s = batch.last_end_s
        given_s = last_s - start_s
        if given_s <= 0:
            batch.fail(_too_late(step.name))
            return
        try:
            await step.work(batch, Deadline(last_s))
        except Error as error:
            batch.fail(error)
        _stamp(batch, step.name, start_s, self.monotonic_s(), given_s)

    def divide(
        self,
        batch: Batch,
        step: DependentStep,
        later: Sequence[Step],
        parted: list[asyncio.Task[None]],
    ) -> bool:
        """Let each half of the members try a step again that failed for all of them, in a batch of its own,
        so that only those fail whose data it is; return False where there is nothing to divide."""
        members = batch.members
        left = [place for place, one in enumerate(members) if one.error is None and one.answer is None]
        middle = len(left) // 2 if step.divides else 0
        if middle:
            for places in (left[:middle], left[middle:]):
                going = self.go_apart(batch.part(places), step, None, later, parted)
                parted.append(asyncio.create_task(going))
        return bool(middle)

    async def _run_needed(
        self,
        batch: Batch,
        step: DependentStep,
        later: Sequence[Step],
        parted: list[asyncio.Task[None]],
        start_s: float,
    ) -> bool:
        """Run a step that a batch can't do without, whose members all have the time that it is expected to
        take: what `_Attempt` does, without what it does for members that part. Return False, with nothing
        done, where a member has less time than others, and too little."""
        gate, size = step.gate(batch), step.size(batch)
        budget, first_s, last_s = batch.pipeline.budget, batch.first_end_s, batch.last_end_s
        if first_s < last_s and first_s < start_s + gate.expected_s(start_s, size):
            return False
        last_s = budget.limit_s(step.name, last_s, start_s)
        given_s = last_s - start_s
        verdict = gate.admit(start_s, given_s, size)
        if verdict is Verdict.ADMITTED:
            try:
                await step.work(batch, Deadline(last_s))
                ended_s = self.monotonic_s()
                gate.succeeded(ended_s, ended_s - start_s, size)
            except DeadlineExceeded:
                ended_s = self.monotonic_s()
                gate.timed_out(ended_s, given_s, size)
                batch.fail(_not_done(step.name, given_s))
            except NotUsable as error:
                # What depends on data says nothing of the dependency: its gate stays as it is.
                ended_s = self.monotonic_s()
                if not self.divide(batch, step, later, parted):
                    batch.fail(error)
            except Error as error:
                ended_s = self.monotonic_s()
                gate.failed(ended_s)
                batch.fail(error)
        else:
            ended_s = start_s
            batch.fail(_refusal(step.name, gate, size, verdict.name, start_s, given_s))
        _stamp(batch, step.name, start_s, ended_s, given_s)
        return True


class _Attempt:
    """One run of a step that depends on something: at once, in part, or not at all."""

    __slots__ = (
        "_batch", "_gate", "_last_s", "_later", "_limits_s", "_parted", "_runner", "_size", "_spare",
        "_start_s", "_step",
    )  # fmt: skip

    def __init__(
        self,
        runner: StepRunner,
        batch: Batch,
        step: DependentStep,
        later: Sequence[Step],
        parted: list[asyncio.Task[None]],
        start_s: float,
    ) -> None:
        self._runner = runner
        self._batch = batch
        self._step = step
        self._later = later
        self._parted = parted
        self._start_s = start_s
        self._gate = step.gate(batch)
        self._size = step.size(batch)
        self._spare = step.is_spare(batch)
        self._limits_s = self._find_limits()
        self._last_s = max(self._limits_s)
        if self._last_s <= start_s:
            batch.hurry()
            self._limits_s = self._find_limits()
            self._last_s = max(self._limits_s)

    async def make(self) -> None:
        """Do the step's work, or what the pipeline says to do without it, for all members; the gate learns
        how it went."""
        batch, step, gate, size = self._batch, self._step, self._gate, self._size
        start_s, last_s, monotonic_s = self._start_s, self._last_s, self._runner.monotonic_s
        given_s = last_s - start_s
        verdict = gate.admit(start_s, given_s, size)
        if verdict is not Verdict.ADMITTED:
            await _do_without(batch, step, verdict.name, self._refusal(verdict.name, given_s))
        elif not (self._spare and await self._part_helpless()):
            differ = len(self._limits_s) > 1 and min(self._limits_s) < last_s
            if differ:
                self._part_hurried()
            try:
                work = step.work(batch, Deadline(last_s))
                await (self._wait(work) if differ and self._spare else work)
                ended_s = monotonic_s()
                gate.succeeded(ended_s, ended_s - start_s, size)
            except DeadlineExceeded:
                gate.timed_out(monotonic_s(), given_s, size)
                batch.hurry()
                await _do_without(batch, step, "TIMEOUT", _not_done(step.name, given_s))
            except NotUsable as error:
                if not self._runner.divide(batch, step, self._later, self._parted):
                    await _do_without(batch, step, "ERROR", error)
            except Unavailable as error:
                gate.failed(monotonic_s())
                await _do_without(batch, step, "UNAVAILABLE", error)
            except Error as error:
                gate.failed(monotonic_s())
                await _do_without(batch, step, "ERROR", error)
        _stamp(batch, step.name, start_s, monotonic_s(), given_s)

    def _find_limits(self) -> list[float]:
        batch, now_s = self._batch, self._start_s
        if not self._spare:
            return batch.limits_s(self._step.name, now_s, None)
        reserve_s = _expected_s(self._later, batch, now_s)
        usual_s = _USUAL_RATIO * self._gate.expected_s(now_s, self._size) + _USUAL_S
        return batch.limits_s(self._step.name, now_s, reserve_s, usual_s)

    async def _wait(self, work: Awaitable[None]) -> None:
        """Wait for the work, to the last limit; part those whose limits pass before."""
        task, limits_s = asyncio.ensure_future(work), self._limits_s
        try:
            for limit_s in sorted(set(limits_s))[:-1]:
                await asyncio.wait([task], timeout=max(0.0, limit_s - self._runner.monotonic_s()))
                if task.done():
                    break
                late = [place for place, other_s in enumerate(limits_s) if other_s == limit_s]
                late = [place for place in late if self._batch.members[place].error is None]
                if late:
                    self._part(late, "TIMEOUT", _not_done(self._step.name, limit_s - self._start_s))
            await task
        finally:
            task.cancel()  # where this task is: a read's reply is dropped, its place in the queue stays

    async def _part_helpless(self) -> bool:
        """Part the members that the work can't help; return whether that was all of them."""
        helpless = self._step.helpless(self._batch)
        error = NotUsable(f"{self._step.name} has nothing to work with")
        if helpless and len(helpless) == len(self._batch.members):
            await _do_without(self._batch, self._step, "NOT_FOUND", error)
            return True
        if helpless:
            self._part(helpless, "NOT_FOUND", error)
        return False

    def _part_hurried(self) -> None:
        """Part the members that have less time than the work is expected to take."""
        done_s = self._start_s + self._gate.expected_s(self._start_s, self._size)
        hurried = [place for place, limit_s in enumerate(self._limits_s) if limit_s < done_s]
        hurried = [place for place in hurried if self._batch.members[place].error is None]
        if 0 < len(hurried) < len(self._limits_s):
            given_s = min(self._limits_s) - self._start_s
            self._part(hurried, "NO_TIME", self._refusal("NO_TIME", given_s))

    def _part(self, places: Sequence[int], reason: str, error: Error) -> None:
        """Let the members at `places` go on without this step, in a batch of their own."""
        others = self._batch.part(places)
        now_s = self._runner.monotonic_s()
        _stamp(others, self._step.name, self._start_s, now_s, now_s - self._start_s)
        going = self._runner.go_apart(others, self._step, (reason, error), self._later, self._parted)
        self._parted.append(asyncio.create_task(going))

    def _refusal(self, reason: str, given_s: float) -> Error:
        return _refusal(self._step.name, self._gate, self._size, reason, self._start_s, given_s)


async def _ended(parted: list[asyncio.Task[None]]) -> None:
    """Return when the tasks have ended: by themselves, or at once where this is cancelled."""
    try:
        # A task may part members off in its turn: then the list grows while it is gone through.
        for task in parted:
            await asyncio.wait([task])
    except asyncio.CancelledError:
        for task in parted:
            task.cancel()
        await asyncio.gather(*parted, return_exceptions=True)
        raise


def _stamp(batch: Batch, name: str, start_s: float, end_s: float, given_s: float) -> None:
    """Note on every member when the step ran and what it was given."""
    timing = (name, start_s, end_s - start_s, max(0.0, given_s))
    for member in batch.members:
        member.stages.append(timing)


async def _do_without(batch: Batch, step: DependentStep, reason: str, error: Error) -> None:
    if step.is_spare(batch):
        await step.without(batch, reason, error)
    else:
        batch.fail(error)


def _expected_s(steps: Sequence[Step], batch: Batch, now_s: float) -> float:
    """Return how long these steps are expected to take, with some caution."""
    expected_s = 0.0
    for step in steps:
        if isinstance(step, DependentStep):
            estimate_s = step.gate(batch).expected_s(now_s, step.size(batch))
            expected_s += max(_CAUTION_RATIO * estimate_s, batch.step_reserve_s)
    return expected_s


def _too_late(name: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"the deadline passed before {name}", stage=name, reason="NO_TIME")


def _not_done(name: str, given_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{name} was not done in the {given_s * 1000:.1f} ms it was given", stage=name)


def _refusal(name: str, gate: Gate, size: int, reason: str, now_s: float, given_s: float) -> Error:
    """Return why a step isn't started, as the error of who can't do without it."""
    if reason == "UNAVAILABLE":
        why = f"{name} has failed time and again; it is tried again every 100 ms"
        return Unavailable(why, stage=name)
    if given_s <= 0.0:
        return _too_late(name)
    expected_s = gate.expected_s(now_s, size)
    why = f"{name} takes about {expected_s * 1000:.1f} ms, and {given_s * 1000:.1f} ms were left"
    return DeadlineExceeded(why, stage=name, reason=reason)
