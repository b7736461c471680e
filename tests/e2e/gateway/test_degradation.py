"""A real gateway whose Redis stops answering under load: every answer is in time, says what it does without,
and is whole again as soon as Redis is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import forebay
import grpc
import pytest
from forebay.v1 import admin_pb2

from runtime.embedded_store import TemporaryStore
from tests.support.paused_store import paused
from tests.support.served_application import ServedApplication, prepare, served
from tests.support.tiny_application import write_tiny_application

PIPELINE = """\
  patient_items:
    entities: [user]
    hydrate: [user_profile]
    retrieve: {index: items, query: user_profile.taste, k: 10, exclude: user_profile.seen}
    hydrate_candidates: [item_profile, item_now]
    predict: rater
    select: {top: 5, by: score}
    budget: {total: 300ms, hydrate: 60ms, hydrate_candidates: 60ms}
    degrade:
      hydrate: {user_profile: defaults}
      retrieve: {candidates: {sql: "select item_id from items order by price desc limit 8"}}
      hydrate_candidates: {item_profile: defaults, item_now: defaults}
      predict: [stale_answer, {feature: item_profile.price}]
"""
BUDGET_S = 0.3
FAULTS = frozenset({"TIMEOUT", "NO_TIME", "UNAVAILABLE"})
GRACE_S = 2.0
"""What a busy machine may add to an answer's time, or to the return to full quality."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApplication]:
    directory = tmp_path_factory.mktemp("degradation")
    file = write_tiny_application(directory / "app")
    file.write_text(file.read_text() + PIPELINE)
    with TemporaryStore() as store:
        prepare(directory, store.url, file, ("items",))
        with served(directory, store.url, "tiny") as gateway:
            yield gateway


async def test_a_request_without_a_vector_gets_the_fallback_candidates(gateway: ServedApplication) -> None:
    async with forebay.aio.Client(gateway.gateway) as client:
        answer = await client.predict("patient_items", user_id=999, timeout_s=2.0)
    told = {(part.stage, part.subject, part.reason, part.action) for part in answer.degradations}
    assert ("retrieve", "items", "NOT_FOUND", "FALLBACK") in told
    assert len(answer) == 5


async def test_a_pause_of_redis_costs_quality_and_no_answer(gateway: ServedApplication) -> None:
    loop = asyncio.get_running_loop()
    async with forebay.aio.Client(gateway.gateway, retry=None) as client:
        for user_id in range(1, 20):
            await client.predict("patient_items", user_id=user_id, timeout_s=2.0)

        async def call(number: int) -> tuple[float, float, frozenset[str]]:
            began_s = loop.time()
            answer = await client.predict("patient_items", user_id=1 + number % 19, timeout_s=2.0)
            ended_s = loop.time()
            return ended_s, ended_s - began_s, FAULTS & {part.reason for part in answer.degradations}

        async def load(seconds: float) -> list[tuple[float, float, frozenset[str]]]:
            until_s, calls = loop.time() + seconds, []
            while loop.time() < until_s:
                calls.append(asyncio.create_task(call(len(calls))))
                await asyncio.sleep(0.02)
            return await asyncio.gather(*calls)

        with paused(gateway.redis_url):
            during = await load(1.5)
        back_s = loop.time()
        after = await load(0.2)
        while after[-1][2] and loop.time() < back_s + 10:
            after += await load(0.2)

    assert all(took_s <= BUDGET_S + GRACE_S for _, took_s, _ in during + after)
    assert all(reasons for _, _, reasons in during)
    degraded = [ended_s - back_s for ended_s, _, reasons in after if reasons]
    assert not degraded or max(degraded) < 1.0 + GRACE_S
    assert not after[-1][2]

    with grpc.insecure_channel(gateway.admin) as channel:
        describe = channel.unary_unary("/forebay.v1.AdminService/DescribeServer", None, None)
        described = admin_pb2.DescribeServerResponse.FromString(describe(b"", timeout=5))
    counts: Counter[str] = Counter()
    for part in described.degradations:
        if part.pipeline == "patient_items":
            counts[part.action] += part.answers
    assert counts["DEFAULTS"] >= len(during)
    assert [state.limit > 0 for state in described.admission] == [True]
