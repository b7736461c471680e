"""Runs submissions in batches: the asyncio part, which wakes those who wait. What runs when is decided in
`schedule` and `policy`."""

from __future__ import annotations

import asyncio
import copy
import logging
import secrets
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, Internal, Overloaded, Unavailable

from runtime.batcher.entry import Criticality, Entry
from runtime.batcher.limits import BatchLimits
from runtime.batcher.schedule import RunningBatch, Schedule
from runtime.batcher.stats import BatcherStats
from runtime.clock import Clock

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_QUIET_TURNS = 12
"""Turns of the loop without a newcomer after which the next batch starts; measured with grpc.aio, whose calls
come every few turns."""
_MOST_TURNS = 96
"""Turns of the loop between two batches at the most: under a millisecond where calls are few."""
_LONGEST_LET_IN_S = 0.003
"""And so long at the most: turns of a loop that is flooded with calls take a tenth of that each."""
_CROWDED_S = 0.001
"""For so long after a batch of several its successors are taken to be under way: a batch that took in
everybody leaves nobody waiting, and the first of them to come back would run alone."""

_SWEEP_INTERVAL_S = 0.0004
"""Shortest time between two sweeps; a deadline is enforced at most this much late, plus the loop's lag."""


@dataclass(slots=True, eq=False)
class _Member(Entry, Generic[Item, Result]):
    """A submission. Its future may be done at any time: its submitter was cancelled, its deadline passed."""

    item: Item
    future: asyncio.Future[Result]

    def gone(self) -> bool:
        return self.future.done()


class Batcher(Generic[Item, Result]):
    """Runs what is submitted concurrently as one batch.

    While nothing runs a submission starts a batch at once; nobody ever waits for company. While batches run,
    submissions queue, and the next batch takes from them by criticality and deadline (`policy.choose`). A
    batch that takes far longer than expected (it waits for something) holds nobody up: others run beside it,
    at most `limits.beside_stalled`. The
    members of a first batch are taken when its task starts, so that submissions of one turn of the loop
    share it.

    `run` gets the items of a batch, which all have the same key, and returns as many results in their order;
    an `Error` among them fails only its own submission. It runs in a task of the batcher's, in the context in
    which the batcher was made: nothing that happens to a submitter reaches it. It must end by itself; what
    comes after the members' deadlines is dropped.

    Cost: two turns of the loop, one task per busy period, one timer in all.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Error]]],
        clock: Clock,
        limits: BatchLimits | None = None,
        *,
        max_running: int = 1,
    ) -> None:
        self.stats = BatcherStats()
        self._run = run
        self._clock = clock
        self._limits = limits or BatchLimits()
        self._max_running = max_running
        self._schedule: Schedule[_Member[Item, Result]] = Schedule(self._limits, max_running)
        self._context = copy_context()
        self._workers: set[asyncio.Task[None]] = set()
        self._starting = False
        self._closed = False
        self._crowded_until_s = -inf
        self._sweep_s = inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing runs."""
        return not (self._workers or self._starting or self._schedule.waiting_count)

    async def submit(
        self,
        item: Item,
        *,
        key: Hashable = None,
        rows: int = 1,
        deadline: Deadline = NEVER,
        criticality: Criticality = Criticality.DEFAULT,
    ) -> Result:
        """Return the result of `item` once a batch that it was in has run.

        Raises: the `Error` that `run` returned for it, or a copy of what `run` raised; DeadlineExceeded when
        its deadline passes first, or can't be met by the estimate; Overloaded when the queue is too long, or
        it had to give way to somebody more critical; Unavailable when the batcher is closed.
        Cancellation: takes it out of the queue, or its result is dropped; nobody else is affected.
        """
        loop = asyncio.get_running_loop()
        now_s = self._clock.monotonic_s()
        deadline_s = deadline.at_s
        due_s = min(deadline_s, now_s + self._limits.patience_s)
        member: _Member[Item, Result] = _Member(
            key, criticality, rows, now_s, deadline_s, due_s, False, item, loop.create_future()
        )
        self._enqueue(member, now_s)
        sweep_s = deadline_s
        if not self._starting:
            if len(self._workers) < self._max_running:
                self._start_worker(loop)
            else:
                sweep_s = min(deadline_s, max(self._schedule.stalled_s(), now_s))
        if sweep_s < self._sweep_s:
            self._sweep_at(sweep_s, now_s)
        try:
            return await member.future
        except (asyncio.CancelledError, GeneratorExit):
            self._withdraw(member)
            raise

    def answer(self, item: Item, result: Result | Error) -> None:
        """Tell one submission its result before the batch that it is in has ended.

        Nothing happens where nobody waits for it any more. What `run` returns for it later is dropped.
        """
        for batch in self._schedule.running:
            for member in batch.members:
                if member.item is item:
                    self._answer((member,), (result,))

    def discount(self, item: Item, seconds: float) -> None:
        """Don't count `seconds` of what the running batch takes that holds `item`: it could do without."""
        for batch in self._schedule.running:
            if any(member.item is item for member in batch.members):
                batch.discount_s += seconds

    async def aclose(self) -> None:
        """Refuse new submissions, fail those that wait with Unavailable, and wait for those that run.

        Cancellation: ends the running batches too; their members fail with Unavailable.
        """
        self._closed = True
        self._fail(self._schedule.clear(), Unavailable("the server is stopping"))
        workers = list(self._workers)
        try:
            if workers:
                await asyncio.wait(workers)
        except asyncio.CancelledError:
            for worker in workers:
                worker.cancel()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _enqueue(self, member: _Member[Item, Result], now_s: float) -> None:
        try:
            if self._closed:
                raise Unavailable("the server is stopping")
            displaced = self._schedule.submit(member, now_s)
        except (Overloaded, Unavailable):
            self.stats.refused += 1
            raise
        except DeadlineExceeded:
            self.stats.expired_waiting += 1
            raise
        if displaced is not None and not displaced.future.done():
            self.stats.displaced += 1
            retry_after_s = self._schedule.expected_wait_s(displaced, now_s)
            displaced.future.set_exception(
                Overloaded("too many requests: gave way to a more critical one", retry_after_s=retry_after_s)
            )

    def _withdraw(self, member: _Member[Item, Result]) -> None:
        """Take note that a submitter was cancelled; its future may hold a result that it never saw."""
        member.future.cancel()
        if member.future.cancelled():
            self._schedule.withdraw(member)
            self.stats.cancelled += 1

    def _start_worker(self, loop: asyncio.AbstractEventLoop) -> None:
        self._starting = True
        worker = loop.create_task(self._work(), name="batcher", context=self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(self._check_end)

    async def _work(self) -> None:
        """Run one batch after another until nobody waits."""
        worker = asyncio.current_task()
        try:
            if self._clock.monotonic_s() < self._crowded_until_s:
                await self._let_in()
            while batch := self._next_batch():
                await self._run_batch(batch)
                if len(batch.members) > 1:
                    self._crowded_until_s = self._clock.monotonic_s() + _CROWDED_S
                if not self._schedule.waiting_count or len(self._workers) > self._max_running:
                    break
                await self._let_in()
        finally:
            if worker is not None:
                # Not when the task is done, a turn later: a submission in between would wait for ever.
                self._workers.discard(worker)

    async def _let_in(self) -> None:
        """Let those who were answered go on, and newcomers into the next batch.

        gRPC hands a server one call per turn of the loop or two: a batch that starts at once finds one or two
        of thirty that have arrived, and makes the others wait for a batch each. So the loop turns until no
        one comes any more. Somebody waits meanwhile, which is why this costs tens of microseconds at most
        where few arrive, and is never done while nothing runs. It ends as soon as a full batch waits: in
        overload a turn may bring nothing but calls to be refused, each of which costs what an answer does.
        """
        quiet_turns, end_s = 0, self._clock.monotonic_s() + _LONGEST_LET_IN_S
        for _ in range(_MOST_TURNS):
            waiting = self._schedule.waiting_count
            if waiting >= self._limits.members:
                return
            await asyncio.sleep(0)
            quiet_turns = 0 if self._schedule.waiting_count > waiting else quiet_turns + 1
            if quiet_turns == _QUIET_TURNS or self._clock.monotonic_s() >= end_s:
                return

    def _check_end(self, worker: asyncio.Task[None]) -> None:
        """Leave nobody waiting for a worker that was ended from outside, perhaps before it began."""
        if worker.cancelled() or worker.exception() is not None:
            self._workers.discard(worker)
            self._starting = False
            self._fail(self._schedule.clear(), Unavailable("the batcher was ended"))

    def _next_batch(self) -> RunningBatch[_Member[Item, Result]] | None:
        self._starting = False
        now_s = self._clock.monotonic_s()
        batch, late = self._schedule.start(now_s)
        if late:
            self.stats.expired_waiting += self._expire(late, now_s)
        if batch is None:
            return None
        submitted = [member.submitted_s for member in batch.members]
        waited_s = len(submitted) * now_s - sum(submitted)
        self.stats.started(len(submitted), batch.rows, waited_s, now_s - min(submitted))
        if self._schedule.waiting_count and len(self._workers) < self._max_running:
            self._start_worker(asyncio.get_running_loop())
        return batch

    async def _run_batch(self, batch: RunningBatch[_Member[Item, Result]]) -> None:
        ran = False
        try:
            results = await self._run([member.item for member in batch.members])
            if len(results) != len(batch.members):
                raise _miscounted(len(batch.members), len(results))
            ran = any(not isinstance(result, Error) for result in results)
        except asyncio.CancelledError:
            self._fail(batch.members, Unavailable("the batch was cancelled"))
            worker = asyncio.current_task()
            if worker is not None and worker.cancelling():
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, every member gets it
            self._fail(batch.members, error)
        except BaseException:
            self._fail(batch.members, Unavailable("the batcher was ended"))
            raise
        else:
            self._answer(batch.members, results)
        finally:
            now_s = self._clock.monotonic_s()
            self._schedule.finish(batch, now_s, ran=ran)
            self.stats.run_s += now_s - batch.started_s

    def _answer(self, members: Iterable[_Member[Item, Result]], results: Iterable[Result | Error]) -> None:
        """Tell the members their results. A future that is done already keeps what it has: setting it again
        would raise, and everybody behind it would wait for ever."""
        answered = 0
        for member, result in zip(members, results, strict=True):
            if member.future.done():
                continue
            if isinstance(result, Error):
                self._fail((member,), result)
            else:
                member.future.set_result(result)
                answered += 1
        self.stats.answered += answered

    def _fail(self, members: Iterable[_Member[Item, Result]], error: Exception) -> None:
        for member in members:
            if not member.future.done():
                member.future.set_exception(_another(error))
                self.stats.failed += 1

    def _expire(self, members: Iterable[_Member[Item, Result]], now_s: float) -> int:
        """Tell those members that they are too late; return how many didn't know yet."""
        count = 0
        for member in members:
            if not member.future.done():
                if member.deadline_s <= now_s:
                    late = DeadlineExceeded("the deadline passed")
                else:
                    late = DeadlineExceeded("too little time was left when its turn came", reason="NO_TIME")
                member.future.set_exception(late)
                count += 1
        return count

    def _sweep_at(self, due_s: float, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sweep_s = due_s
        self._timer = asyncio.get_running_loop().call_later(due_s - now_s, self._sweep)

    def _sweep(self) -> None:
        """Tell those whose deadline has passed, whether they wait or run; run those who wait beside what has
        stalled; be back when either is next due."""
        self._timer, self._sweep_s = None, inf
        now_s = self._clock.monotonic_s()
        self.stats.expired_waiting += self._expire(self._schedule.expire(now_s), now_s)
        for batch in self._schedule.running:
            late = [member for member in batch.members if member.deadline_s <= now_s]
            self.stats.expired_running += self._expire(late, now_s)
        next_s = self._schedule.next_deadline_s()
        if self._schedule.waiting_count and not self._starting:
            stalled_s = self._schedule.stalled_s()
            if stalled_s <= now_s:
                self.stats.stalls += 1
                self._start_worker(asyncio.get_running_loop())
            else:
                next_s = min(next_s, stalled_s)
        if next_s < inf:
            self._sweep_at(max(next_s, now_s + _SWEEP_INTERVAL_S), now_s)


def _miscounted(members: int, results: int) -> Internal:
    identity = secrets.token_hex(8)
    logger.error("internal error %s: a batch of %d members has %d results", identity, members, results)
    return Internal(f"internal error {identity}", id=identity)


def _another(error: Exception) -> Exception:
    """Return an exception like `error` for one more to raise: a shared one's traceback would grow."""
    try:
        another = copy.copy(error)
    except TypeError:  # its constructor wants something else than what it keeps in `args`
        another = RuntimeError(f"the batch failed: {type(error).__name__}")
    if isinstance(another, StopIteration):  # which no future takes
        another = RuntimeError("the batch failed: StopIteration")
    another.__cause__ = error
    return another
