"""Takes submitted predictions in mini-batches, makes them, and ends them; at least once each, one result
each."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from forebay.errors import (
    DeadlineExceeded,
    Error,
    Internal,
    InvalidRequest,
    NotUsable,
    Overloaded,
    Unavailable,
)

from gateway.submissions.messages import failure_bytes
from gateway.submissions.pace import Pace
from gateway.submissions.submission import Delivery, Ended, State, Submission
from gateway.submissions.work_queue import Verdict, WorkQueue
from runtime.clock import Clock
from runtime.submission_settings import SubmissionSettings

logger = logging.getLogger(__name__)

_PASSING = (Unavailable, Overloaded, DeadlineExceeded)
"""Failures that may be over when the prediction is tried again."""

_QUEUE_FAILURES = (Unavailable, DeadlineExceeded, NotUsable, InvalidRequest)
"""What the queue itself may meet: a store that is gone, full, or takes no request of this size."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_FINISH_S = 5.0
"""For so long a result is offered to a store that is gone; after that the prediction is made again."""
_CLAIMS_PER_IDLE_TIME = 4


@dataclass(slots=True)
class WorkerCounts:
    """What a worker has done so far."""

    done: int = 0
    failed: int = 0
    dead: int = 0
    left: int = 0
    """Tried without success, to be given out again."""
    late: int = 0
    """Made although another result stood already, or nobody could ask for it any more."""
    claimed: int = 0
    """Taken over from a worker that left it."""


class Worker:
    """One worker. `make` returns a submission's serialised answer or raises; concurrent calls share batches.

    Mini-batches run one after another, so that what a crash takes with it is bounded. What was given out
    before runs alone: if it is the prediction that ends workers, it ends no other's with it.
    """

    def __init__(
        self,
        queue: WorkQueue,
        make: Callable[[Submission], Awaitable[bytes]],
        settings: SubmissionSettings,
        clock: Clock,
        wait_s: float,
    ) -> None:
        self.counts = WorkerCounts()
        self._queue = queue
        self._make = make
        self._settings = settings
        self._clock = clock
        self._wait_s = wait_s
        self._pace = Pace(settings.mini_batch, settings.timeout_s)
        self._claim_s = 0.0
        self._failure = ""
        self._last_passing = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set and the mini-batch under way has ended. A store that is gone is waited
        for.

        Cancellation: what was taken is given to another worker after `claim_after_s`.
        """
        pause_s = _FIRST_PAUSE_S
        while not stop.is_set():
            try:
                await self._queue.join()
                self._answered()
                pause_s = _FIRST_PAUSE_S
                await self._work(stop)
            except _QUEUE_FAILURES as error:
                self._refuse(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        await self._leave()

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            again = await self._claim()
            if again is not None:
                await self._end_all([again])
            taken = await self._queue.take(self._pace.size, 0.0 if again else self._wait_s)
            if taken:
                start_s = self._clock.monotonic_s()
                await self._end_all(taken)
                self._pace.took(len(taken), self._clock.monotonic_s() - start_s)

    async def _claim(self) -> Delivery | None:
        """Return one prediction that was left; ask again at once while there are any, else after a while."""
        now_s = self._clock.monotonic_s()
        if now_s < self._claim_s:
            return None
        found = await self._queue.claim()
        if found is None:
            self._claim_s = now_s + self._settings.claim_after_s / _CLAIMS_PER_IDLE_TIME
            await self._queue.forget_others()
        else:
            self.counts.claimed += 1
        return found

    async def _end_all(self, deliveries: Sequence[Delivery]) -> None:
        """Make these predictions together, and end each with those that are ready at the same moment."""
        making = {asyncio.create_task(self._made(delivery)) for delivery in deliveries}
        try:
            left = self.counts.left
            while making:
                ready, making = await asyncio.wait(making, return_when=asyncio.FIRST_COMPLETED)
                ended = [one for one in (task.result() for task in ready) if one is not None]
                await asyncio.gather(*map(self._finish, ended))
            if self.counts.left > left:
                count = self.counts.left - left
                logger.warning("%d predictions are left, to be tried again: %s", count, self._last_passing)
        finally:
            for task in making:
                task.cancel()
            await asyncio.gather(*making, return_exceptions=True)

    async def _made(self, delivery: Delivery) -> Ended | None:
        """Return how a delivery ended; None where it is left, to be given out again."""
        submission = delivery.submission
        if submission is None:
            return _dead(delivery, Internal("an entry of the queue can't be read"))
        hopeless = self._hopeless(delivery, submission)
        if hopeless is not None:
            return hopeless
        try:
            return Ended(delivery, State.DONE, await self._make(submission))
        except _PASSING as error:
            return self._left(delivery, error)
        except Internal as error:
            return _dead(delivery, error)
        except Error as error:
            return Ended(delivery, State.FAILED, failure_bytes(error))
        except Exception as error:  # whatever it is, the caller gets an end
            identity = secrets.token_hex(8)
            logger.error(
                "internal error %s in prediction %s", identity, submission.prediction_id, exc_info=error
            )
            return _dead(delivery, Internal(f"internal error {identity}", id=identity))

    def _hopeless(self, delivery: Delivery, submission: Submission) -> Ended | None:
        """Return the end of what isn't tried any more."""
        waited_s = (self._clock.now_us() - submission.submitted_us) / 1e6
        if waited_s > self._settings.pending_s:
            message = f"the prediction was not made within the {self._settings.pending_s:g} s it may wait"
            return Ended(delivery, State.FAILED, failure_bytes(DeadlineExceeded(message)))
        if delivery.count > self._settings.max_deliveries:
            message = f"the prediction was taken {delivery.count - 1} times, and no worker got done with it"
            return _dead(delivery, Internal(message))
        return None

    def _left(self, delivery: Delivery, error: Error) -> Ended | None:
        if delivery.count >= self._settings.max_deliveries:
            return _dead(delivery, error)
        self.counts.left += 1
        self._last_passing = error.message
        return None

    async def _finish(self, ended: Ended) -> None:
        """Offer a result until the store takes it; give up after a while."""
        until_s = self._clock.monotonic_s() + _FINISH_S
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                self._count(ended, await self._queue.finish(ended))
                return
            except _QUEUE_FAILURES as error:
                if self._clock.monotonic_s() >= until_s:
                    self.counts.left += 1
                    self._last_passing = f"a result can't be stored: {error.message}"
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _count(self, ended: Ended, verdict: Verdict) -> None:
        if verdict is not Verdict.FIRST:
            self.counts.late += 1
        elif ended.state is State.DONE:
            self.counts.done += 1
        else:
            self.counts.failed += 1
        if ended.dead and verdict is not Verdict.LATER:
            self.counts.dead += 1
            logger.error("a prediction is given up: %s", ended.dead)

    async def _leave(self) -> None:
        try:
            await self._queue.leave()
        except _QUEUE_FAILURES as error:
            logger.warning("the workers' group can't be left: %s", error)

    def _refuse(self, error: Error) -> None:
        """Keep the reason, and log it once: the attempt is made again."""
        if error.message != self._failure:
            logger.error("the queue can't be worked on: %s", error.message)
        self._failure = error.message

    def _answered(self) -> None:
        if self._failure:
            logger.info("the queue can be worked on again")
        self._failure = ""


def _dead(delivery: Delivery, error: Error) -> Ended:
    return Ended(delivery, State.FAILED, failure_bytes(error), f"{error.reason}: {error.message}")
