"""The composition root of a worker: what `app.py` is to a gateway. Settings become objects, and this file
owns their lifetimes."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

from gateway.admission import Admission
from gateway.backend import open_backend
from gateway.plan import CompiledRelease
from gateway.submissions.making import Making
from gateway.submissions.scripts import longest_block_s
from gateway.submissions.work_queue import WorkQueue
from gateway.submissions.worker import Worker, WorkerCounts
from runtime.admission_settings import AdmissionSettings
from runtime.batcher import BatchLimits
from runtime.clock import Clock, SystemClock
from runtime.process import either, freeze_garbage
from runtime.redis_connection import RedisConnection
from runtime.settings import Settings


async def work(
    settings: Settings,
    redis_url: str,
    stop: asyncio.Event,
    ready: Callable[[str], None],
    clock: Clock | None = None,
) -> WorkerCounts:
    """Make submitted predictions until `stop` is set, then end the mini-batch under way; return what was
    done.

    `ready` is called with the worker's name when the first release is loaded.

    Raises: NotUsable when the application was never applied.
    """
    clock = clock or SystemClock()
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        admission = Admission(_admission(settings), clock)
        backend = open_backend(
            settings, redis_url, clock, stack, limits=_limits(settings), admission=admission
        )
        blocking = RedisConnection.open(redis_url, settings.redis, clock)
        stack.push_async_callback(blocking.aclose)
        making = Making(
            backend.live, backend.predictor, clock, settings.submissions, settings.registry.poll_s
        )
        queue = WorkQueue(backend.connection, blocking, settings.app, name, settings.submissions)
        worker = Worker(
            queue, making.make, settings.submissions, clock, wait_s=longest_block_s(settings.redis)
        )
        loaded = asyncio.Event()

        async def in_service(release: CompiledRelease) -> None:
            backend.predictor.keep_only(release)
            if not loaded.is_set():
                loaded.set()
                freeze_garbage()
                ready(name)

        async def begin() -> None:
            await either(loaded.wait(), stop.wait())
            if loaded.is_set():
                await worker.run(stop)

        await either(backend.live.follow(in_service), begin())
        return worker.counts


def _limits(settings: Settings) -> BatchLimits:
    """Return a batcher's bounds: what a worker has taken waits for its turn as long as there is time for
    it."""
    submissions = settings.submissions
    return BatchLimits(
        members=settings.gateway.batch_members,
        waiting=submissions.mini_batch + 1,
        wait_s=submissions.timeout_s,
        patience_s=submissions.timeout_s,
    )


def _admission(settings: Settings) -> AdmissionSettings:
    """Return who is let in: whatever a worker has taken. How much it takes is its own limit."""
    return AdmissionSettings(max_in_flight=settings.submissions.mini_batch + 1, adaptive=False)
