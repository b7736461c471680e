"""Precomputed answers from a store that is slow, silent, gone and back: a miss in time, and never more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from forebay.deadline import Deadline
from forebay.v1 import values_pb2 as pb

from feature_store.redis_store import RedisStore
from gateway.admit import PredictRequest, admit
from gateway.batch import Member
from gateway.kept_answer import KeptAnswer
from gateway.precomputed.kept_bytes import StoredAnswer, packed
from gateway.precomputed.keys import AnswerKeys, KeyPart
from gateway.precomputed.plan import PrecomputedPlan
from gateway.precomputed.precomputed import Precomputed
from registry.dtypes import DType
from registry.precomputed import PrecomputedPart
from runtime.batcher import Criticality
from runtime.clock import ManualClock, SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.compiled_application import compiled_application
from tests.support.fault_proxy import FaultProxy

KEYS = AnswerKeys("rules", "stale", 1, [KeyPart(PrecomputedPart("user_id"), DType.parse("int64"))])
PLAN = PrecomputedPlan(is_first=True, keys=KEYS, top=0, features=(), max_age_us=2**62)
WAIT_S = 0.3
CLOCK = SystemClock()


class Lookup:
    """Asks for one precomputed answer through a proxy that misbehaves."""

    def __init__(self, directory: Path, store: RedisStore, proxy: FaultProxy) -> None:
        self.store = store
        self.proxy = proxy
        self._pipeline = replace(
            compiled_application(directory, ManualClock()).release.pipeline("stale"), precomputed=PLAN
        )
        self._precomputed = Precomputed(store, CLOCK, WAIT_S)

    async def first(self) -> tuple[bool, float]:
        """Return whether there was an answer, and how long the lookup took in seconds."""
        start_s = CLOCK.monotonic_s()
        found = await self._precomputed.first(self._member(start_s))
        return found is not None, CLOCK.monotonic_s() - start_s

    def _member(self, now_s: float) -> Member:
        return admit(
            PredictRequest(
                pipeline=self._pipeline,
                criticality=Criticality.DEFAULT,
                inputs={"user_id": pb.Value(int64_value=1)},
                candidates=(),
                top=None,
                return_features=(),
                deadline=Deadline(now_s + 10),
                admitted_s=now_s,
                trace_id="",
                stages=[],
            )
        )


@pytest.fixture
async def lookup(tmp_path: Path) -> AsyncIterator[Lookup]:
    with TemporaryStore() as server:
        async with FaultProxy(Path(server.url.removeprefix("unix://"))) as proxy:
            settings = RedisSettings(max_unanswered_age_s=5.0, reconnect_longest_s=0.05)
            connection = await RedisConnection.connect(proxy.url, settings, CLOCK)
            store = RedisStore(connection)
            kept = KeptAnswer(b"", 1, CLOCK.now_us(), 2**63 - 1, degraded=False)
            await store.load_many(KEYS.of(["1"]), [packed(StoredAnswer(kept, 1))])
            yield Lookup(tmp_path, store, proxy)
            await connection.aclose()


async def found_again(lookup: Lookup) -> None:
    give_up_s = CLOCK.monotonic_s() + 30
    while not (await lookup.first())[0]:
        assert CLOCK.monotonic_s() < give_up_s
        await asyncio.sleep(0.01)


async def test_silent_store_is_a_miss_within_the_wait_and_found_when_it_speaks_again(lookup: Lookup) -> None:
    assert (await lookup.first())[0]
    lookup.proxy.black_hole = True
    results = [await lookup.first() for _ in range(20)]
    assert not any(found for found, _ in results)
    # Once the gate has closed nobody waits but a probe every 100 ms.
    assert sum(took_s for _, took_s in results) < 20 * WAIT_S
    lookup.proxy.black_hole = False
    lookup.proxy.reset()  # no network loses part of a connection and carries on
    await found_again(lookup)


async def test_slow_store_is_a_miss_within_the_wait(lookup: Lookup) -> None:
    lookup.proxy.delay_s = 20.0
    found, took_s = await lookup.first()
    assert not found
    assert took_s < 10.0


async def test_store_that_is_gone_is_a_miss_until_it_is_back(lookup: Lookup) -> None:
    lookup.proxy.refuse = True
    lookup.proxy.reset()
    assert not any([(await lookup.first())[0] for _ in range(3)])
    lookup.proxy.refuse = False
    await found_again(lookup)
