"""The queue of submitted predictions on a real server: acceptance, idempotency, bounds, expiry, waiting."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import InvalidRequest, Overloaded

from gateway.submissions.keys import Keys, hash_of
from gateway.submissions.submission import Ended, Outcome, State, Submission
from runtime.redis_connection import RedisConnection
from runtime.submission_settings import SubmissionSettings
from tests.support.submission_queue import QUICK, QueueUnderTest, done, echo, queue_under_test
from tests.support.until import until

PENDING = Outcome(State.PENDING, b"")


async def test_a_prediction_is_pending_until_a_worker_ends_it(submissions: QueueUnderTest) -> None:
    [one] = await submissions.submit(b"request")
    assert await submissions.queue.outcome(one) == PENDING
    async with submissions.working(echo) as worker:
        assert await submissions.ended([one]) == {one: done(b"request")}
    assert worker.counts.done == 1
    assert await submissions.connection.execute("XLEN", "forebay:{tiny}:submissions") == 0


@pytest.mark.parametrize("unknown", ["0" * 32, "", "x" * 65, "a}b", "ä", "../x"])
async def test_nothing_is_known_of_an_id_that_was_never_given(
    submissions: QueueUnderTest, unknown: str
) -> None:
    assert await submissions.queue.outcome(unknown) is None


async def test_the_same_idempotency_key_gives_the_first_id(submissions: QueueUnderTest) -> None:
    ids = {await submissions.queue.submit(b"request", release=1, idempotency_key="k") for _ in range(3)}
    assert len(ids) == 1
    assert (await submissions.inspection.status()).waiting == 1
    async with submissions.working(echo):
        await submissions.ended(list(ids))
    assert await submissions.queue.submit(b"request", release=1, idempotency_key="k") in ids


async def test_concurrent_submissions_of_one_key_are_one_prediction(submissions: QueueUnderTest) -> None:
    submitted = [
        submissions.queue.submit(b"request", release=1, idempotency_key="ü" * 100) for _ in range(50)
    ]
    assert len(set(await asyncio.gather(*submitted))) == 1
    assert (await submissions.inspection.status()).waiting == 1


async def test_a_key_that_stands_for_another_request_is_refused(submissions: QueueUnderTest) -> None:
    await submissions.queue.submit(b"request", release=1, idempotency_key="k")
    with pytest.raises(InvalidRequest, match="another request") as refused:
        await submissions.queue.submit(b"another", release=1, idempotency_key="k")
    assert refused.value.field == "idempotency_key"


async def test_without_a_key_each_submission_is_its_own(submissions: QueueUnderTest) -> None:
    assert len(set(await submissions.submit(b"same", b"same"))) == 2


async def test_a_request_over_the_limit_is_refused(submissions: QueueUnderTest) -> None:
    with pytest.raises(InvalidRequest, match="at most 65536") as refused:
        await submissions.submit(bytes(65_537))
    assert refused.value.field == "request"
    with pytest.raises(InvalidRequest, match="at most 256 bytes") as refused:
        await submissions.queue.submit(b"request", release=1, idempotency_key="ü" * 129)
    assert refused.value.field == "idempotency_key"


@pytest.fixture
async def small(redis_url: str, connection: RedisConnection) -> AsyncIterator[QueueUnderTest]:
    """A queue that holds two, and keeps nothing long."""
    settings = SubmissionSettings(**{**QUICK.model_dump(), "max_backlog": 2, "pending_s": 0.8, "keep_s": 0.8})
    async with queue_under_test(redis_url, connection, settings) as queue:
        yield queue


async def test_a_full_queue_refuses_until_something_has_ended(small: QueueUnderTest) -> None:
    ids = await small.submit(b"1", b"2")
    with pytest.raises(Overloaded, match="2 submitted predictions wait") as refused:
        await small.submit(b"3")
    assert refused.value.retry_after_s is not None
    assert 0.5 <= refused.value.retry_after_s <= 30
    async with small.working(echo):
        await small.ended(ids)
        await small.submit(b"3")


async def test_a_key_that_was_accepted_is_answered_by_a_full_queue(small: QueueUnderTest) -> None:
    first = await small.queue.submit(b"1", release=1, idempotency_key="k")
    await small.submit(b"2")
    assert await small.queue.submit(b"1", release=1, idempotency_key="k") == first


async def test_a_result_and_its_key_expire_together(small: QueueUnderTest) -> None:
    first = await small.queue.submit(b"1", release=1, idempotency_key="k")
    async with small.working(echo):
        assert await small.ended([first]) == {first: done(b"1")}
        await until_gone(small, first)
        again = await small.queue.submit(b"another", release=1, idempotency_key="k")
    assert again != first


async def test_a_key_that_was_used_again_keeps_its_own_time(submissions: QueueUnderTest) -> None:
    keys = Keys("tiny")
    first = await submissions.queue.submit(b"1", release=1, idempotency_key="k")
    await submissions.connection.execute("UNLINK", keys.first(hash_of("k")))  # as if it had expired
    again = await submissions.queue.submit(b"2", release=1, idempotency_key="k")
    await submissions.work_queue().join()
    [delivery, _] = await submissions.work_queue().take(2, 0.0)
    assert delivery.submission is not None
    assert delivery.submission.prediction_id == first
    before_ms = await submissions.connection.execute("PTTL", keys.first(hash_of("k")))
    await submissions.connection.execute("PEXPIRE", keys.first(hash_of("k")), before_ms * 2)
    await submissions.work_queue().finish(Ended(delivery, State.FAILED, b"", dead="broken"))
    assert await submissions.connection.execute("PTTL", keys.first(hash_of("k"))) > before_ms
    [letter] = await submissions.inspection.dead_letters(1)
    assert await submissions.inspection.requeue(letter.id) == 1
    assert await submissions.connection.execute("PTTL", keys.first(hash_of("k"))) > before_ms
    assert await submissions.queue.submit(b"2", release=1, idempotency_key="k") == again


async def test_a_dead_letter_stays_while_the_queue_is_full(small: QueueUnderTest) -> None:
    await small.submit(b"1")
    await small.work_queue().join()
    [delivery] = await small.work_queue().take(1, 0.0)
    await small.work_queue().finish(Ended(delivery, State.FAILED, b"", dead="broken"))
    await small.submit(b"2", b"3")
    [letter] = await small.inspection.dead_letters(10)
    with pytest.raises(Overloaded, match=f"the most there may be: dead letter {letter.id} stays"):
        await small.inspection.requeue(letter.id)
    assert await small.inspection.dead_letters(10) == [letter]


async def test_a_prediction_that_waited_too_long_ends_as_failed(small: QueueUnderTest) -> None:
    [one] = await small.submit(b"1")
    await asyncio.sleep(
        0.85
    )  # the time that it may wait is the server's and the worker's, not a manual clock's
    async with small.working(echo):
        outcome = (await small.ended([one]))[one]
    assert outcome is not None
    assert outcome.state is State.FAILED
    assert b"DEADLINE_EXCEEDED" in outcome.body


async def test_without_a_worker_a_prediction_is_forgotten_and_its_entry_dropped(
    small: QueueUnderTest,
) -> None:
    [one] = await small.submit(b"1")
    await until_gone(small, one)
    async with small.working(echo) as worker:
        await until(lambda: worker.counts.late == 1)
    status = await small.inspection.status()
    assert (status.waiting, status.taken, status.dead_letters) == (0, 0, 0)


async def until_gone(queue: QueueUnderTest, prediction_id: str) -> None:
    async with asyncio.timeout(20):
        while await queue.queue.outcome(prediction_id) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_wait_ends_with_the_prediction_and_not_by_looking(submissions: QueueUnderTest) -> None:
    """Nobody looks by himself within the test's time (`poll_s`): the end was heard of."""
    [one] = await submissions.submit(b"request")
    waiting = [asyncio.create_task(submissions.waiting.outcome(one, NEVER, NEVER)) for _ in range(20)]
    await until(lambda: submissions.endings.awaited_count > 0)
    async with submissions.working(echo), asyncio.timeout(20):
        assert await asyncio.gather(*waiting) == [done(b"request")] * 20
    assert submissions.endings.awaited_count == 0


async def test_a_wait_gives_what_is_known_when_its_time_is_over(submissions: QueueUnderTest) -> None:
    [one] = await submissions.submit(b"request")
    until = Deadline.after(0.05, submissions.clock.monotonic_s())
    assert await submissions.waiting.outcome(one, until, NEVER) == PENDING


async def test_cancelled_waits_leave_nothing_behind(submissions: QueueUnderTest) -> None:
    ids = await submissions.submit(*[b"%d" % number for number in range(50)])
    tasks = [asyncio.create_task(submissions.waiting.outcome(one, NEVER, NEVER)) for one in ids * 2]
    tasks.append(asyncio.create_task(_drained(submissions, ids)))
    await until(lambda: submissions.endings.awaited_count == 50)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert submissions.endings.awaited_count == 0


async def _drained(queue: QueueUnderTest, ids: list[str]) -> None:
    async for _ in queue.waiting.each(ids):
        pass


async def test_waits_end_with_what_is_known_when_the_server_stops(submissions: QueueUnderTest) -> None:
    [one] = await submissions.submit(b"request")
    waiting = asyncio.create_task(submissions.waiting.outcome(one, NEVER, NEVER))
    await until(lambda: submissions.endings.awaited_count > 0)
    submissions.waiting.hurry()
    assert await asyncio.wait_for(waiting, 20) == PENDING


async def test_a_lost_notification_is_made_up_for_by_looking(
    redis_url: str, connection: RedisConnection
) -> None:
    settings = SubmissionSettings(**{**QUICK.model_dump(), "poll_s": 0.05})
    async with queue_under_test(redis_url, connection, settings) as queue:
        [one] = await queue.submit(b"request")
        waiting = asyncio.create_task(queue.ended([one]))
        await until(lambda: queue.endings.awaited_count > 0)
        await queue.endings.aclose()  # deaf from here on
        async with queue.working(echo):
            assert await waiting == {one: done(b"request")}


async def test_a_watch_gives_each_once_as_it_ends(submissions: QueueUnderTest) -> None:
    first, second, third = await submissions.submit(b"1", b"2", b"3")
    gate = asyncio.Event()

    async def make(submission: Submission) -> bytes:
        if submission.prediction_id == second:
            await gate.wait()
        return submission.request

    ids = [second, first, "unknown", first, third]
    seen: list[str] = []
    async with submissions.working(make), asyncio.timeout(20):
        async for prediction_id, outcome in submissions.waiting.each(ids):
            seen.append(prediction_id)
            assert (outcome is None) == (prediction_id == "unknown")
            if len(seen) == 3:
                gate.set()
    assert seen[0] == "unknown"
    assert sorted(seen[1:3]) == sorted([first, third])
    assert seen[3:] == [second]


async def test_a_watch_of_what_has_ended_ends_at_once(submissions: QueueUnderTest) -> None:
    ids = await submissions.submit(*[b"%d" % number for number in range(40)])
    async with submissions.working(echo):
        await submissions.ended(ids)
    assert list(await submissions.ended(ids)) == ids
