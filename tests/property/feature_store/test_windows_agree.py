"""Events make the same rows in RedisStore as in MemoryStore, byte for byte, whatever comes in what order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from feature_store.memory_store import MemoryStore
from feature_store.redis_store import RedisStore
from feature_store.row_header import MAX_TIME_US, pack_header, pack_tombstone
from feature_store.windows.events import EventBlock, Source
from feature_store.windows.ring_row import RingForm
from registry.rings import PARTS, Ring, RingField
from runtime.clock import SystemClock
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings

KEYS = [b"a", b"b", b"f{1:c}2:3"]
KEPT_S = 3600.0
TILE_US = 1000
FORMS = (
    RingForm(1, Ring(TILE_US, 3, (RingField("x", PARTS),))),
    RingForm(2, Ring(TILE_US, 64, (RingField("x", ("sum",)), RingField("y", ("min", "last"))))),
)
INCARNATIONS = (0, 7, 2**64 - 1)

keys = st.sampled_from(KEYS)
near = st.integers(-6, 80).map(lambda number: number * 500)
event_times = near | st.integers(0, 70_000) | st.sampled_from([MAX_TIME_US, -MAX_TIME_US])
values = st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, float("nan"), 1e300, -1e300])
events = st.lists(st.tuples(keys, event_times, values, values), max_size=8)
steps = st.lists(st.integers(1, 3), min_size=8, max_size=8)
first_positions = st.integers(0, 12) | st.sampled_from([2**32 - 2, 2**63 - 100])
sources = st.builds(Source, st.sampled_from(INCARNATIONS), st.sampled_from([0, 1, 2**32 - 1]))
presents = st.integers(0, 60_000) | st.sampled_from([MAX_TIME_US])
odd_rows = st.sampled_from([pack_header(1, 5, 5) + b"row", b"", b"short", pack_tombstone(2_000)])


class StoresAgree(RuleBasedStateMachine):
    """Every call goes to both stores; chunks are small, so that most calls span several."""

    url: ClassVar[str]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        chunks = FeatureStoreSettings(read_chunk_rows=3, write_chunk_rows=2, load_chunk_rows=3)
        self.connection = self.run(RedisConnection.connect(self.url, RedisSettings(), SystemClock()))
        self.run(self.connection.execute("FLUSHALL"))
        self.redis, self.memory = RedisStore(self.connection, chunks), MemoryStore()

    def run(self, call: Awaitable[Any]) -> Any:
        async def answer() -> Any:
            return await call

        return self.runner.run(answer())

    @rule(
        form=st.sampled_from([FORMS[0], *FORMS]),
        source=sources,
        first=first_positions,
        steps=steps,
        events=events,
        now_us=presents,
    )
    def apply(
        self, form: RingForm, source: Source, first: int, steps: list[int], events: Any, now_us: int
    ) -> None:
        columns = list(zip(*events, strict=True)) or [(), (), (), ()]
        block = EventBlock(
            source,
            ["-"] * len(events),
            np.array(columns[1], np.int64),
            first + np.cumsum(steps[: len(events)], dtype=np.int64),
            {"x": np.array(columns[2], np.float64), "y": np.array(columns[3], np.float64)},
        )
        ours = self.run(self.redis.apply_events(columns[0], block, form, now_us, KEPT_S))
        theirs = self.run(self.memory.apply_events(columns[0], block, form, now_us, KEPT_S))
        assert ours.tolist() == theirs.tolist()

    @rule(keys=st.lists(keys, max_size=3), time_us=near)
    def bury(self, keys: list[bytes], time_us: int) -> None:
        ours = self.run(self.redis.bury_many(keys, time_us, KEPT_S))
        theirs = self.run(self.memory.bury_many(keys, time_us, KEPT_S))
        assert ours.tolist() == theirs.tolist()

    @rule(key=keys, row=odd_rows)
    def load(self, key: bytes, row: bytes) -> None:
        self.run(self.redis.load_many([key], [row]))
        self.run(self.memory.load_many([key], [row]))

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        assert self.run(self.redis.delete_many([key])) == self.run(self.memory.delete_many([key]))

    @invariant()
    def all_rows_agree(self) -> None:
        assert self.run(self.redis.get_many(KEYS)) == self.run(self.memory.get_many(KEYS))

    def teardown(self) -> None:
        self.run(self.redis.aclose())


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_stores_agree_when_events_come_in_any_order(redis_url: str, runner: asyncio.Runner) -> None:
    machine = type("Machine", (StoresAgree,), {"url": redis_url, "runner": runner})
    few = settings(
        max_examples=15,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(machine, settings=few)
