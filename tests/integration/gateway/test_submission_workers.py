"""Workers on a real server: sharing, crashes, failures that pass and that don't, dead letters, lost data."""

import asyncio
import subprocess
import sys
from collections import Counter

import pytest
from forebay._rpc.status_pb2 import Status
from forebay.errors import DeadlineExceeded, Error, Internal, InvalidRequest, NotFound, NotUsable, Unavailable

from gateway.submissions.submission import Outcome, State, Submission
from runtime.redis_connection import RedisConnection
from runtime.submission_settings import SubmissionSettings
from tests.support.served_application import ROOT, environment
from tests.support.submission_queue import QUICK, Make, QueueUnderTest, done, echo, queue_under_test
from tests.support.until import until

WORK = "forebay:{tiny}:submissions"


def failure(outcome: Outcome | None) -> Status:
    """Return the error that a prediction ended with."""
    assert outcome is not None
    assert outcome.state is State.FAILED
    return Status.FromString(outcome.body)


async def test_workers_share_the_queue_and_make_each_prediction_once(submissions: QueueUnderTest) -> None:
    made: Counter[bytes] = Counter()
    turns: Counter[str] = Counter()

    def by(name: str) -> Make:
        async def make(submission: Submission) -> bytes:
            made[submission.request] += 1
            turns[name] += 1
            await asyncio.sleep(0)
            return submission.request

        return make

    requests = [b"%d" % number for number in range(200)]
    ids = await submissions.submit(*requests)
    async with submissions.working(by("one"), "one"), submissions.working(by("two"), "two"):
        assert await submissions.ended(ids) == dict(zip(ids, map(done, requests), strict=True))
    assert set(made.values()) == {1}
    assert set(turns) == {"one", "two"}


async def test_a_mini_batch_is_made_concurrently(submissions: QueueUnderTest) -> None:
    """Eight wait for each other: alone none of them would end."""
    together = asyncio.Barrier(8)

    async def make(submission: Submission) -> bytes:
        async with together:
            return submission.request

    ids = await submissions.submit(*[b"%d" % number for number in range(8)])
    async with submissions.working(make):
        await submissions.ended(ids)


async def test_every_prediction_ends_once_when_a_worker_is_killed_in_a_mini_batch(
    submissions: QueueUnderTest,
) -> None:
    requests = [b"%d" % number for number in range(30)]
    ids = await submissions.submit(*requests)
    doomed = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "tests/support/submission_queue.py", submissions.url],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert doomed.stdout is not None
    with doomed, doomed.stdout:
        for _ in range(QUICK.mini_batch):
            await asyncio.to_thread(doomed.stdout.readline)
        assert (await submissions.inspection.status()).taken == QUICK.mini_batch
        doomed.kill()
    told: Counter[str] = Counter()
    async with submissions.working(echo) as worker, asyncio.timeout(20):
        async for prediction_id, outcome in submissions.waiting.each(ids):
            told[prediction_id] += 1
            assert outcome == done(requests[ids.index(prediction_id)])
        status = await submissions.inspection.status()
    assert set(told.values()) == {1}
    assert len(told) == 30
    assert (worker.counts.done, worker.counts.claimed, worker.counts.late) == (30, QUICK.mini_batch, 0)
    assert (status.waiting, status.taken, status.dead_letters) == (0, 0, 0)
    endings = await submissions.connection.execute("XLEN", "forebay:{tiny}:submission_endings")
    assert endings == 30


async def test_the_first_of_two_results_stands(submissions: QueueUnderTest) -> None:
    """A worker that hung, and was taken for dead, comes back with a result of its own."""
    [one] = await submissions.submit(b"request")
    hung, go_on = asyncio.Event(), asyncio.Event()

    async def late(submission: Submission) -> bytes:
        hung.set()
        await go_on.wait()
        return b"late"

    async with submissions.working(late, "slow") as slow:
        await hung.wait()
        async with submissions.working(echo, "quick"):
            assert await submissions.ended([one]) == {one: done(b"request")}
        go_on.set()
    assert slow.counts.late == 1
    assert await submissions.queue.outcome(one) == done(b"request")


@pytest.mark.parametrize("error", [InvalidRequest("no", field="inputs.x"), NotFound("no such pipeline")])
async def test_what_would_fail_again_fails_at_once_as_a_call_would(
    submissions: QueueUnderTest, error: Error
) -> None:
    async def make(submission: Submission) -> bytes:
        raise error

    [one] = await submissions.submit(b"request")
    async with submissions.working(make) as worker:
        status = failure((await submissions.ended([one]))[one])
    assert status.message == error.message
    assert status.details[0].type_url.endswith("google.rpc.ErrorInfo")
    assert len(status.details) == (2 if error.field else 1)
    assert (worker.counts.failed, worker.counts.dead) == (1, 0)


async def test_a_failure_that_passes_is_tried_again_and_then_succeeds(submissions: QueueUnderTest) -> None:
    attempts: Counter[bytes] = Counter()

    async def make(submission: Submission) -> bytes:
        attempts[submission.request] += 1
        if submission.request == b"unlucky" and attempts[submission.request] < 3:
            raise Unavailable("the store is gone")
        return submission.request

    unlucky, lucky = await submissions.submit(b"unlucky", b"lucky")
    async with submissions.working(make) as worker:
        assert await submissions.ended([unlucky, lucky]) == {
            unlucky: done(b"unlucky"),
            lucky: done(b"lucky"),
        }
    assert attempts == {b"unlucky": 3, b"lucky": 1}
    assert (worker.counts.left, worker.counts.dead) == (2, 0)


async def test_a_failure_that_stays_becomes_a_dead_letter_that_can_be_requeued(
    submissions: QueueUnderTest,
) -> None:
    healed = False

    async def make(submission: Submission) -> bytes:
        if not healed:
            raise DeadlineExceeded("predict was not done", stage="predict")
        return submission.request

    first = await submissions.queue.submit(b"request", release=1, idempotency_key="k")
    async with submissions.working(make) as worker:
        status = failure((await submissions.ended([first]))[first])
        assert status.message == "predict was not done"
        [letter] = await submissions.inspection.dead_letters(10)
        assert (letter.prediction_id, letter.deliveries) == (first, 3)
        assert letter.reason == "DEADLINE_EXCEEDED: predict was not done"
        healed = True
        assert await submissions.inspection.requeue(letter.id) == 1
        assert await submissions.ended([first]) == {first: done(b"request")}
        with pytest.raises(NotFound):
            await submissions.inspection.requeue(letter.id)
    assert await submissions.inspection.dead_letters(10) == []
    assert (worker.counts.dead, worker.counts.done) == (1, 1)


@pytest.mark.parametrize("name", ["nothing", "1-1", "", "-"])
async def test_a_dead_letter_that_is_not_there_is_not_found(submissions: QueueUnderTest, name: str) -> None:
    with pytest.raises(NotFound):
        await submissions.inspection.requeue(name)


async def test_a_queue_that_cannot_be_read_is_not_a_dead_letter_that_is_not_there(
    submissions: QueueUnderTest,
) -> None:
    await submissions.connection.execute("SET", "forebay:{tiny}:submission_dead", "no stream")
    with pytest.raises(NotUsable):
        await submissions.inspection.requeue("1-1")


async def test_a_bug_ends_its_own_prediction_with_an_opaque_id(
    submissions: QueueUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    async def make(submission: Submission) -> bytes:
        if submission.request == b"bad":
            raise ZeroDivisionError("a secret")
        return submission.request

    bad, good = await submissions.submit(b"bad", b"good")
    async with submissions.working(make):
        ended = await submissions.ended([bad, good])
    status = failure(ended[bad])
    assert status.message.startswith("internal error ")
    assert b"secret" not in status.SerializeToString()
    assert status.message in caplog.text
    assert ended[good] == done(b"good")
    assert len(await submissions.inspection.dead_letters(10)) == 1


async def test_a_prediction_that_ends_workers_is_given_up_and_takes_no_other_with_it(
    submissions: QueueUnderTest,
) -> None:
    """The crash is a cancellation here: the worker ends without a word, its entries stay with it."""
    crashes = 0

    async def make(submission: Submission) -> bytes:
        nonlocal crashes
        if submission.request == b"poison":
            crashes += 1
            raise asyncio.CancelledError
        await asyncio.sleep(0.01)
        return submission.request

    requests = [b"poison", *[b"%d" % number for number in range(5)]]
    ids = await submissions.submit(*requests)
    ended = asyncio.create_task(submissions.ended(ids))
    for number in range(20):
        worker = asyncio.create_task(submissions.worker(make, f"w{number}").run(asyncio.Event()))
        await asyncio.wait([worker, ended], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            break
    outcomes = await asyncio.wait_for(ended, 20)
    assert failure(outcomes.pop(ids[0])).message == (
        "the prediction was taken 3 times, and no worker got done with it"
    )
    assert outcomes == dict(zip(ids[1:], map(done, requests[1:]), strict=True))
    assert crashes == 3


async def test_an_entry_that_is_no_prediction_becomes_a_dead_letter(submissions: QueueUnderTest) -> None:
    await submissions.work_queue().join()
    await submissions.connection.execute("XADD", WORK, "*", "foo", b"\xff")
    async with submissions.working(echo) as worker:
        await until(lambda: worker.counts.dead == 1)
    [letter] = await submissions.inspection.dead_letters(10)
    assert "can't be read" in letter.reason
    assert letter.prediction_id == ""
    assert await submissions.connection.execute("XLEN", WORK) == 0


async def test_an_entry_that_was_deleted_is_forgotten(submissions: QueueUnderTest) -> None:
    await submissions.work_queue().join()
    [one] = await submissions.submit(b"request")
    gone = submissions.work_queue("gone")
    [taken] = await gone.take(10, 0.05)
    await submissions.connection.execute("XDEL", WORK, taken.entry)
    async with submissions.working(echo):
        async with asyncio.timeout(20):
            while (await submissions.inspection.status()).taken:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert await submissions.queue.outcome(one) is not None


async def test_work_goes_on_when_the_store_has_lost_everything(submissions: QueueUnderTest) -> None:
    lost, before = (await submissions.submit(b"lost", b"before"))[0], "before"
    async with submissions.working(echo):
        await submissions.ended([lost])
        await submissions.connection.execute("FLUSHALL")
        assert await submissions.queue.outcome(lost) is None
        [one] = await submissions.submit(before.encode())
        assert await submissions.ended([one]) == {one: done(b"before")}


async def test_a_worker_that_ends_is_forgotten_and_one_that_holds_something_is_not(
    submissions: QueueUnderTest,
) -> None:
    await submissions.work_queue().join()
    await submissions.submit(b"request")
    holder = submissions.work_queue("holder")
    assert len(await holder.take(1, 0.05)) == 1
    await holder.leave()
    assert [one.name for one in (await submissions.inspection.status()).workers] == ["holder"]
    async with submissions.working(echo, "other") as worker:
        await until(lambda: worker.counts.done == 1)
    await holder.leave()
    assert (await submissions.inspection.status()).workers == ()


async def test_a_worker_ends_its_mini_batch_when_it_is_stopped(submissions: QueueUnderTest) -> None:
    stop, begun = asyncio.Event(), asyncio.Event()

    async def make(submission: Submission) -> bytes:
        begun.set()
        await asyncio.sleep(0.05)
        return submission.request

    ids = await submissions.submit(b"1", b"2")
    running = asyncio.create_task(submissions.worker(make).run(stop))
    await begun.wait()
    stop.set()
    await asyncio.wait_for(running, 20)
    assert await submissions.queue.outcomes(ids) == [done(b"1"), done(b"2")]
    assert (await submissions.inspection.status()).workers == ()


async def test_dead_letters_are_bounded(redis_url: str, connection: RedisConnection) -> None:
    async def make(submission: Submission) -> bytes:
        raise Internal("a bug")

    settings = SubmissionSettings(**{**QUICK.model_dump(), "kept_dead_letters": 1, "mini_batch": 64})
    async with queue_under_test(redis_url, connection, settings) as queue:
        ids = await queue.submit(*[b"%d" % number for number in range(400)])
        async with queue.working(make):
            await queue.ended(ids)
        assert (await queue.inspection.status()).dead_letters < 200
