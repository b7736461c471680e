"""Submissions behind a network that fails: through a proxy, to real servers."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Unavailable

from gateway.submissions.submission import Outcome, Submission
from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from runtime.submission_settings import SubmissionSettings
from tests.support.fault_proxy import FaultProxy
from tests.support.store_server import KINDS, program_of
from tests.support.submission_queue import QUICK, QueueUnderTest, done, echo, queue_under_test
from tests.support.until import until

HASTY = RedisSettings(
    max_unanswered_age_s=0.3, connect_timeout_s=2.0, reconnect_first_s=0.002, reconnect_longest_s=0.02
)
CLOCK = SystemClock()


@pytest.fixture
async def proxy(store_server: TemporaryStore) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(store_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def shaky(proxy: FaultProxy, connection: RedisConnection) -> AsyncIterator[QueueUnderTest]:
    """An empty queue, all of whose connections lead through the proxy."""
    through = await RedisConnection.connect(proxy.url, HASTY, CLOCK)
    settings = SubmissionSettings(**{**QUICK.model_dump(), "claim_after_s": 1.0})
    async with queue_under_test(proxy.url, through, settings, HASTY) as queue:
        yield queue
    await through.aclose()


async def outcome_once_back(queue: QueueUnderTest, prediction_id: str) -> Outcome | None:
    """Ask as a client does: again when the gateway says that the store is gone."""
    async with asyncio.timeout(20):
        while True:
            with suppress(Unavailable):
                return await queue.waiting.outcome(prediction_id, NEVER, NEVER)
            await asyncio.sleep(0.02)


async def test_calls_are_unavailable_while_the_store_is_gone_and_go_on_when_it_is_back(
    proxy: FaultProxy, shaky: QueueUnderTest
) -> None:
    [one] = await shaky.submit(b"request")
    waiting = asyncio.create_task(shaky.waiting.outcome(one, NEVER, NEVER))
    watching = asyncio.create_task(shaky.ended([one]))
    await until(lambda: shaky.endings.awaited_count > 0)
    proxy.refuse = True
    proxy.reset()
    for call in (waiting, watching, shaky.submit(b"another")):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(call, 20)
    assert shaky.endings.awaited_count == 0
    proxy.refuse = False
    async with shaky.working(echo):
        assert await outcome_once_back(shaky, one) == done(b"request")


async def test_a_wait_outlives_a_socket_that_is_lost_and_replaced(
    proxy: FaultProxy, shaky: QueueUnderTest
) -> None:
    """What ends while the reader reconnects is found all the same, before anybody would look for himself."""
    [one] = await shaky.submit(b"request")
    waiting = asyncio.create_task(outcome_once_back(shaky, one))
    await until(lambda: shaky.endings.awaited_count > 0)
    async with shaky.working(echo):
        proxy.reset()
        assert await waiting == done(b"request")


async def test_a_submission_to_a_store_that_is_silent_ends_with_its_deadline(
    proxy: FaultProxy, shaky: QueueUnderTest
) -> None:
    proxy.black_hole = True
    deadline = Deadline.after(0.05, CLOCK.monotonic_s())
    with pytest.raises((DeadlineExceeded, Unavailable)):
        await shaky.queue.submit(b"request", release=1, deadline=deadline)


async def test_workers_go_on_after_every_kind_of_fault_and_each_prediction_ends_once(
    proxy: FaultProxy, shaky: QueueUnderTest
) -> None:
    requests = [b"%d" % number for number in range(60)]
    ids = await shaky.submit(*requests)

    async def make(submission: Submission) -> bytes:
        await asyncio.sleep(0.01)
        return submission.request

    async with shaky.working(make, "one"), shaky.working(make, "two"):
        for fault in ("reset", "black hole", "refuse"):
            await asyncio.sleep(0.02)
            proxy.black_hole, proxy.refuse = fault == "black hole", fault == "refuse"
            if fault != "black hole":
                proxy.reset()
            await asyncio.sleep(0.1)
            proxy.black_hole = proxy.refuse = False
        for prediction_id, request in zip(ids, requests, strict=True):
            assert await outcome_once_back(shaky, prediction_id) == done(request)
        await until_nothing_is_left(shaky)
    endings = await shaky.connection.execute("XLEN", "forebay:{tiny}:submission_endings")
    assert endings == len(ids)


async def until_nothing_is_left(queue: QueueUnderTest) -> None:
    async with asyncio.timeout(20):
        while True:
            with suppress(Unavailable):
                status = await queue.inspection.status()
                if (status.waiting, status.taken) == (0, 0):
                    assert status.dead_letters == 0
                    return
            await asyncio.sleep(0.05)


@contextmanager
def durable_store(program: str, directory: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server that has on disk whatever it has acknowledged; it is killed at the end, as in a crash."""
    socket = directory / "store.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--dir", str(directory), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield f"unix://{socket}", process
        finally:
            process.kill()


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_accepted_is_lost_when_the_store_crashes_and_comes_back(kind: str) -> None:
    requests = [b"%d" % number for number in range(40)]
    busy = asyncio.Event()

    async def make(submission: Submission) -> bytes:
        busy.set()
        await asyncio.sleep(0.01)
        return submission.request

    with tempfile.TemporaryDirectory(prefix="forebay-") as directory, ExitStack() as first:
        url, process = first.enter_context(durable_store(program_of(kind), Path(directory)))
        connection = RedisConnection.open(url, HASTY, CLOCK)
        async with queue_under_test(url, connection, QUICK, HASTY) as queue:
            await until(lambda: connection.connected)
            ids = await queue.submit(*requests)
            async with queue.working(make) as worker:
                await busy.wait()
                process.kill()
                first.close()
                with durable_store(program_of(kind), Path(directory)):
                    for prediction_id, request in zip(ids, requests, strict=True):
                        assert await outcome_once_back(queue, prediction_id) == done(request)
                    await until_nothing_is_left(queue)
            assert worker.counts.dead == 0
        await connection.aclose()
