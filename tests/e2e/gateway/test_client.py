"""What both clients add to a plain call, against a real gateway and a real worker."""

from __future__ import annotations

import asyncio
import signal

import forebay
import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.support.either_client import (
    Opening,
    asynchronous,
    asynchronous_stream,
    synchronous,
    synchronous_stream,
)
from tests.support.served_application import ServedApplication, served
from tests.support.worker_process import working

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
USERS = range(1, 21)

either = pytest.mark.parametrize("opened", [synchronous, asynchronous], ids=["sync", "async"])


def items(answer: forebay.Answer) -> list[int]:
    return [item.entity["item_id"] for item in answer]


@either
async def test_answer_belongs_to_the_callers_trace(tiny: ServedApplication, opened: Opening) -> None:
    async with opened(tiny.gateway) as ask:
        given = await ask("predict", "items_for_user", user_id=2, trace=TRACE)
        assert given.provenance.trace_id == TRACE.split("-")[1]
        with TracerProvider().get_tracer("shop").start_as_current_span("page") as span:
            current = await ask("predict", "items_for_user", user_id=3)
        assert current.provenance.trace_id == f"{span.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("streaming", [synchronous_stream, asynchronous_stream], ids=["sync", "async"])
async def test_stream_answers_as_calls_do(tiny: ServedApplication, streaming: Opening) -> None:
    async with asynchronous(tiny.gateway) as ask, streaming(tiny.gateway, caller="feed") as predict:
        streamed = await asyncio.gather(*(predict("items_for_user", user_id=user, top=3) for user in USERS))
        for user, answer in zip(USERS, streamed, strict=True):
            assert items(answer) == items(await ask("predict", "items_for_user", user_id=user, top=3))
        with pytest.raises(forebay.InvalidRequest) as caught:
            await predict("items_for_user", user_id=1, top=0)
        assert caught.value.field == "top"
        with pytest.raises(forebay.NotFound):
            await predict("nothing")
        assert len(await predict("items_for_user", user_id=2, top=1)) == 1


@either
async def test_predictions_made_later_are_fetched_and_watched(
    tiny: ServedApplication, opened: Opening
) -> None:
    async with opened(tiny.gateway) as ask:
        with working(tiny.directory, tiny.redis_url, tiny.app):
            ids = [await ask("submit", "items_for_user", user_id=user) for user in USERS]
            answer = await ask("result", ids[1], wait_s=20.0)
            assert items(answer) == items(await ask("predict", "items_for_user", user_id=2))
            ends = dict(await ask("watch", [*ids, "unknown"]))
        assert isinstance(ends.pop("unknown"), forebay.NotFound)
        assert set(ends) == set(ids)
        assert all(isinstance(end, forebay.Answer) for end in ends.values())
        assert items(await ask("result", ids[1])) == items(answer)
        # Nobody works any more: what is submitted now stays pending.
        key = f"order-{opened.__name__}"
        waiting = await ask("submit", "items_for_user", user_id=1, idempotency_key=key)
        assert await ask("submit", "items_for_user", user_id=1, idempotency_key=key) == waiting
        with pytest.raises(forebay.Pending):
            await ask("result", waiting, wait_s=0.1)
        with pytest.raises(forebay.DeadlineExceeded):
            await ask("watch", [waiting], wait_s=0.3)
        with pytest.raises(forebay.NotFound):
            await ask("result", "unknown")
        with pytest.raises(forebay.InvalidRequest):
            await ask("submit", "items_for_user", user_id=1, top=0)


@either
async def test_another_server_answers_when_one_is_gone(tiny: ServedApplication, opened: Opening) -> None:
    async with opened(f"127.0.0.1:1,{tiny.gateway}", hedge_after_s=0.05) as ask:
        for user in USERS:
            assert len(await ask("predict", "items_for_user", user_id=user, top=2)) == 2


@pytest.mark.parametrize(
    ("opened", "how", "ends_with"),
    [(synchronous, signal.SIGKILL, -signal.SIGKILL), (asynchronous, signal.SIGTERM, 0)],
    ids=["killed", "terminated"],
)
async def test_no_read_fails_when_one_of_two_servers_ends(
    tiny: ServedApplication, opened: Opening, how: signal.Signals, ends_with: int
) -> None:
    with served(tiny.directory, tiny.redis_url, tiny.app, ends_with=ends_with) as doomed:
        async with opened([tiny.gateway, doomed.gateway]) as ask:
            ended = asyncio.Event()

            async def work(user: int) -> int:
                after_count = 0
                while after_count < 20:
                    assert len(await ask("predict", "items_for_user", user_id=user, top=2)) == 2
                    await ask("features", ["user_profile.age"], user_id=[user])
                    after_count += ended.is_set()
                return after_count

            workers = [asyncio.create_task(work(user)) for user in range(2, 6)]
            await asyncio.sleep(0.5)
            doomed.process.send_signal(how)
            ended.set()
            assert sum(await asyncio.gather(*workers)) == 4 * 20
