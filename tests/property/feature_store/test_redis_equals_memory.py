"""RedisStore and MemoryStore give the same answers to the same calls, whatever the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from feature_store.memory_store import MemoryStore
from feature_store.redis_store import RedisStore
from feature_store.row_header import MAX_TIME_US, pack_header
from runtime.clock import SystemClock
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_connection.slots import slot_of
from runtime.redis_settings import RedisSettings
from tests.support.examples import examples
from tests.support.store_cluster import SLOTS, StoreCluster

KEYS = [b"a", b"b", b"f{1:c}2:3", b"\x00\r\n\xff"]
EDGES = [0, 1, -1, 255, 256, 2**31, 2**32, -(2**32), MAX_TIME_US, MAX_TIME_US + 1, -MAX_TIME_US, 2**63 - 1]
KEPT_S = 3600.0

keys = st.sampled_from(KEYS)
times = st.sampled_from(EDGES) | st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
good_rows = st.builds(
    lambda event, write, body: pack_header(1, event, write) + body, times, times, st.binary()
)
rows = good_rows | st.binary(max_size=24)
pairs = st.lists(st.tuples(keys, rows), max_size=8)


class StoresAgree(RuleBasedStateMachine):
    """Every call goes to both stores; chunks are small, so that most calls span several."""

    url: ClassVar[str]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        chunks = FeatureStoreSettings(read_chunk_rows=3, write_chunk_rows=2, load_chunk_rows=3)
        self.connection = self.run(RedisConnection.connect(self.url, RedisSettings(), SystemClock()))
        self.run(self.connection.execute_everywhere("FLUSHALL"))
        self.redis, self.memory = RedisStore(self.connection, chunks), MemoryStore()

    def run(self, call: Awaitable[Any]) -> Any:
        async def answer() -> Any:
            return await call

        return self.runner.run(answer())

    @rule(pairs=pairs)
    def put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        keys, rows = [key for key, _ in pairs], [row for _, row in pairs]
        ours, theirs = self.run(self.redis.put_many(keys, rows)), self.run(self.memory.put_many(keys, rows))
        assert ours.tolist() == theirs.tolist()

    @rule(pairs=pairs)
    def load(self, pairs: list[tuple[bytes, bytes]]) -> None:
        keys, rows = [key for key, _ in pairs], [row for _, row in pairs]
        self.run(self.redis.load_many(keys, rows))
        self.run(self.memory.load_many(keys, rows))

    @rule(keys=st.lists(keys, max_size=6))
    def delete(self, keys: list[bytes]) -> None:
        assert self.run(self.redis.delete_many(keys)) == self.run(self.memory.delete_many(keys))

    @rule(keys=st.lists(keys, max_size=6), time_us=times.filter(lambda time_us: abs(time_us) <= MAX_TIME_US))
    def bury(self, keys: list[bytes], time_us: int) -> None:
        ours = self.run(self.redis.bury_many(keys, time_us, KEPT_S))
        theirs = self.run(self.memory.bury_many(keys, time_us, KEPT_S))
        assert ours.tolist() == theirs.tolist()

    @rule(keys=st.lists(keys, max_size=8))
    def get(self, keys: list[bytes]) -> None:
        assert self.run(self.redis.get_many(keys)) == self.run(self.memory.get_many(keys))

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.connection.execute_everywhere("SCRIPT", "FLUSH"))

    @invariant()
    def all_rows_agree(self) -> None:
        assert self.run(self.redis.get_many(KEYS)) == self.run(self.memory.get_many(KEYS))

    def teardown(self) -> None:
        self.run(self.redis.aclose())


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_stores_agree_when_called_alike(redis_url: str, runner: asyncio.Runner) -> None:
    check_agreement(redis_url, runner, examples(40))


def test_stores_agree_when_the_keys_are_on_several_nodes(
    shared_cluster: StoreCluster, runner: asyncio.Runner
) -> None:
    assert len({slot_of(key) // (SLOTS // 3) for key in KEYS}) > 1
    check_agreement(shared_cluster.url, runner, examples(10))


def check_agreement(url: str, runner: asyncio.Runner, max_examples: int) -> None:
    machine = type("Machine", (StoresAgree,), {"url": url, "runner": runner})
    few = settings(
        max_examples=max_examples,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(machine, settings=few)
