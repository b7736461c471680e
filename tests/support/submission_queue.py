"""A queue of submitted predictions on a real server, and workers on it whose work a test decides.

As a program (`python tests/support/submission_queue.py URL`) it is a worker that never gets done with what it
takes, until somebody kills it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from gateway.submissions.endings import Endings
from gateway.submissions.inspection import Inspection
from gateway.submissions.submission import Outcome, State, Submission
from gateway.submissions.submission_queue import SubmissionQueue
from gateway.submissions.waiting import Waiting
from gateway.submissions.work_queue import WorkQueue
from gateway.submissions.worker import Worker
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from runtime.submission_settings import SubmissionSettings

APP = "tiny"
BLOCK_S = 0.05
QUICK = SubmissionSettings(timeout_s=0.05, claim_after_s=0.1, mini_batch=8, poll_s=30.0)
"""Settings under which nothing takes long; what is heard must be enough, nobody looks for itself in time."""

Make = Callable[[Submission], Awaitable[bytes]]


@dataclass
class QueueUnderTest:
    """One application's queue: both sides of it, and what operators see."""

    url: str
    connection: RedisConnection
    settings: SubmissionSettings
    stack: AsyncExitStack
    redis: RedisSettings = field(default_factory=RedisSettings)
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.queue = SubmissionQueue(self.connection, APP, self.settings, self.clock)
        self.endings = Endings(self.connect, APP, BLOCK_S)
        self.waiting = Waiting(self.queue, self.endings, self.clock, self.settings.poll_s)
        self.inspection = Inspection(self.connection, APP, self.settings, self.clock)

    def connect(self) -> RedisConnection:
        """Return another connection; its owner closes it."""
        return RedisConnection.open(self.url, self.redis, self.clock)

    def work_queue(self, name: str = "one") -> WorkQueue:
        """Return a worker's side of the queue."""
        blocking = self.connect()
        self.stack.push_async_callback(blocking.aclose)
        return WorkQueue(self.connection, blocking, APP, name, self.settings)

    def worker(self, make: Make, name: str = "one") -> Worker:
        """Return a worker that isn't running yet."""
        return Worker(self.work_queue(name), make, self.settings, self.clock, BLOCK_S)

    @asynccontextmanager
    async def working(self, make: Make, name: str = "one") -> AsyncIterator[Worker]:
        """Run a worker until the end of the block; then it ends what it has begun."""
        worker, stop = self.worker(make, name), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await asyncio.wait_for(running, 30)

    async def submit(self, *requests: bytes) -> list[str]:
        """Submit requests; return their predictions' ids."""
        return [await self.queue.submit(request, release=1) for request in requests]

    async def ended(self, prediction_ids: list[str], timeout_s: float = 20) -> dict[str, Outcome | None]:
        """Return how each prediction ended, once all have."""
        async with asyncio.timeout(timeout_s):
            return {name: outcome async for name, outcome in self.waiting.each(prediction_ids)}


@asynccontextmanager
async def queue_under_test(
    url: str,
    connection: RedisConnection,
    settings: SubmissionSettings = QUICK,
    redis: RedisSettings | None = None,
) -> AsyncIterator[QueueUnderTest]:
    """Give a queue, and close what was opened for it."""
    async with AsyncExitStack() as stack:
        queue = QueueUnderTest(url, connection, settings, stack, redis or RedisSettings())
        stack.push_async_callback(queue.endings.aclose)
        yield queue


async def echo(submission: Submission) -> bytes:
    """A prediction whose answer is its request."""
    return submission.request


def done(request: bytes) -> Outcome:
    """Return how a prediction ends that `echo` makes."""
    return Outcome(State.DONE, request)


async def _never_done(url: str) -> None:
    connection = await RedisConnection.connect(url, RedisSettings(), SystemClock())
    async with queue_under_test(url, connection) as queue:
        taken = 0

        async def make(_submission: Submission) -> bytes:
            nonlocal taken
            taken += 1
            sys.stdout.write(f"{taken}\n")
            sys.stdout.flush()
            return await asyncio.get_running_loop().create_future()

        await queue.worker(make, "doomed").run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_never_done(sys.argv[1]))
