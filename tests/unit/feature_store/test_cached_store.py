"""Rows at hand: who reads, who waits, what is kept of it, and what a write does to all that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, Unavailable
from numpy.typing import NDArray

from feature_store.cached_store import CachedStore
from feature_store.memory_store import MemoryStore
from feature_store.row_header import pack_header
from feature_store.store import UNREAD
from runtime.clock import ManualClock
from runtime.engine_settings import FeatureStoreSettings

BOUND_S = 30.0


def row(time_us: int) -> bytes:
    return pack_header(1, time_us, time_us)


class HeldStore(MemoryStore):
    """A memory store whose reads see its rows at once, and end only when they are let go."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.reads: list[list[bytes]] = []
        self.held = False
        self.unread: set[bytes] = set()
        self._waiting: list[asyncio.Future[Error | None]] = []

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        rows = await super().get_many(keys, deadline)
        self.reads.append(list(keys))
        if self.held:
            self._waiting.append(asyncio.get_running_loop().create_future())
            failure = await self._waiting[-1]
            if failure is not None:
                raise failure
        return [UNREAD if key in self.unread else one for key, one in zip(keys, rows, strict=True)]

    def let_go(self, failure: Error | None = None) -> None:
        """End the read that has waited for longest."""
        self._waiting.pop(0).set_result(failure)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def inner(clock: ManualClock) -> HeldStore:
    return HeldStore(clock)


@pytest.fixture
async def store(inner: HeldStore, clock: ManualClock) -> AsyncIterator[CachedStore]:
    store = CachedStore(inner, FeatureStoreSettings(), clock)
    yield store
    await store.aclose()


async def near(store: CachedStore, *keys: bytes, deadline: Deadline = NEVER) -> list[bytes | None]:
    [rows] = await store.get_near([(keys, BOUND_S)], deadline)
    return rows


async def started(call: Any) -> asyncio.Task[Any]:
    """Return a call as a task that has come as far as it gets by itself."""
    task = asyncio.ensure_future(call)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_rows_are_read_once_when_they_are_asked_for_again(store: CachedStore, inner: HeldStore) -> None:
    await inner.load_many([b"a", b"b"], [row(1), row(2)])
    for _ in range(3):
        assert await near(store, b"b", b"x", b"a", b"b") == [row(2), None, row(1), row(2)]
    assert inner.reads == [[b"b", b"x", b"a"]]
    assert await near(store, b"a", b"c") == [row(1), None]
    assert inner.reads[1:] == [[b"c"]]


async def test_parts_are_read_in_one_trip_when_some_may_not_be_kept(
    store: CachedStore, inner: HeldStore
) -> None:
    await inner.load_many([b"a", b"b", b"n"], [row(1), row(2), row(3)])
    parts = [([b"a"], BOUND_S), ([b"n", b"n"], 0.0), ([b"b", b"a"], BOUND_S)]
    wanted = [[row(1)], [row(3), row(3)], [row(2), row(1)]]
    assert await store.get_near(parts) == wanted
    assert await store.get_near(parts) == wanted
    assert inner.reads == [[b"a", b"b", b"n", b"n"], [b"n", b"n"]]


async def test_no_row_is_older_than_its_bound_when_others_write(
    store: CachedStore, inner: HeldStore, clock: ManualClock
) -> None:
    await inner.load_many([b"a"], [row(1)])
    await near(store, b"a")
    await inner.load_many([b"a"], [row(2)])
    assert await near(store, b"a") == [row(1)]
    clock.advance(BOUND_S)
    assert await near(store, b"a") == [row(2)]


async def test_no_row_is_older_than_its_bound_when_a_part_that_may_not_be_kept_comes_first(
    store: CachedStore, inner: HeldStore, clock: ManualClock
) -> None:
    await inner.load_many([b"a", b"b"], [row(1), row(1)])
    await near(store, b"b")
    await inner.load_many([b"b"], [row(2)])
    clock.advance(BOUND_S)
    found = await store.get_near([([b"a"], 0), ([b"b"], BOUND_S)])
    assert found == [[row(1)], [row(2)]]


async def test_one_read_serves_all_when_they_miss_together(store: CachedStore, inner: HeldStore) -> None:
    await inner.load_many([b"a", b"b"], [row(1), row(2)])
    inner.held = True
    first = await started(near(store, b"a"))
    others = [await started(near(store, b"a", b"b")), await started(near(store, b"b", b"a"))]
    assert inner.reads == [[b"a"], [b"b"]]
    inner.let_go()
    inner.let_go()
    assert await first == [row(1)]
    assert [await other for other in others] == [[row(1), row(2)], [row(2), row(1)]]
    assert store.stats.joined == 3
    assert len(inner.reads) == 2


async def test_everybody_hears_of_it_and_nothing_is_kept_when_a_shared_read_fails(
    store: CachedStore, inner: HeldStore
) -> None:
    inner.held = True
    calls = [await started(near(store, b"a")) for _ in range(3)]
    inner.let_go(Unavailable("gone"))
    for call in calls:
        with pytest.raises(Unavailable, match="gone"):
            await call
    assert inner.reads == [[b"a"]]
    inner.held = False
    await near(store, b"a")
    assert len(inner.reads) == 2


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_who_joined_reads_alone_when_the_reader_gives_up(
    store: CachedStore, inner: HeldStore, how: str
) -> None:
    await inner.load_many([b"a"], [row(1)])
    inner.held = True
    first, second = await started(near(store, b"a")), await started(near(store, b"a"))
    inner.held = False
    if how == "cancelled":
        first.cancel()
    else:
        inner.let_go(DeadlineExceeded("late"))
    assert await second == [row(1)]
    assert first.done() or await asyncio.wait([first])


async def test_who_joined_leaves_when_its_deadline_passes(
    store: CachedStore, inner: HeldStore, clock: ManualClock
) -> None:
    inner.held = True
    first = await started(near(store, b"a"))
    with pytest.raises(DeadlineExceeded):
        await near(store, b"a", deadline=Deadline.after(0.01, clock.monotonic_s()))
    inner.let_go()
    assert await first == [None]


@pytest.mark.parametrize("write", ["put", "load", "delete", "bury"])
async def test_write_is_seen_at_once_when_it_was_made_here(
    store: CachedStore, inner: HeldStore, write: str
) -> None:
    await inner.load_many([b"a", b"b"], [row(1), row(1)])
    await near(store, b"a", b"b")
    match write:
        case "put":
            await store.put_many([b"a"], [row(2)])
        case "load":
            await store.load_many([b"a"], [row(2)])
        case "delete":
            assert await store.delete_many([b"a"]) == 1
        case _:
            await store.bury_many([b"a"], 5, 60.0)
    assert await near(store, b"a", b"b") == await inner.get_many([b"a", b"b"])
    assert inner.reads[1] == [b"a"]


class FailingWrites(HeldStore):
    """Applies writes, and says that it doesn't know."""

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        await super().put_many(keys, rows, deadline)
        raise DeadlineExceeded("who knows")


async def test_row_is_read_again_when_a_write_may_have_been_made(clock: ManualClock) -> None:
    store = CachedStore(FailingWrites(clock), FeatureStoreSettings(), clock)
    assert await near(store, b"a") == [None]
    with pytest.raises(DeadlineExceeded):
        await store.put_many([b"a"], [row(2)])
    assert await near(store, b"a") == [row(2)]
    await store.aclose()


async def test_older_row_is_neither_kept_nor_given_out_when_its_read_began_before_a_write(
    store: CachedStore, inner: HeldStore
) -> None:
    await inner.load_many([b"a"], [row(1)])
    inner.held = True
    before = await started(near(store, b"a"))
    await store.put_many([b"a"], [row(2)])
    after = await started(near(store, b"a"))
    inner.let_go()
    inner.let_go()
    assert await before == [row(1)]
    assert await after == [row(2)]
    assert await near(store, b"a") == [row(2)]


async def test_rows_are_read_ahead_when_they_are_in_use_and_nearly_too_old(
    store: CachedStore, inner: HeldStore, clock: ManualClock
) -> None:
    await inner.load_many([b"a", b"b"], [row(1), row(1)])
    await near(store, b"a", b"b")
    await inner.load_many([b"a", b"b"], [row(2), row(2)])
    clock.advance(BOUND_S * 0.8)
    assert await near(store, b"a") == [row(1)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert store.stats.refreshed == 1
    assert inner.reads[1:] == [[b"a"]]
    clock.advance(BOUND_S * 0.3)
    assert await near(store, b"a") == [row(2)]
    assert len(inner.reads) == 2
    await near(store, b"b")
    assert inner.reads[2:] == [[b"b"]]


async def test_kept_row_stays_until_its_time_is_over_when_reading_ahead_fails(
    store: CachedStore, inner: HeldStore, clock: ManualClock
) -> None:
    await inner.load_many([b"a"], [row(1)])
    await near(store, b"a")
    clock.advance(BOUND_S * 0.8)
    inner.held = True
    await started(near(store, b"a"))
    inner.let_go(Unavailable("gone"))
    assert await near(store, b"a") == [row(1)]
    clock.advance(BOUND_S * 0.2)
    late = await started(near(store, b"a"))
    inner.let_go(Unavailable("gone"))
    with pytest.raises(Unavailable):
        await late


async def test_row_is_asked_for_again_when_it_was_out_of_reach(store: CachedStore, inner: HeldStore) -> None:
    await inner.load_many([b"a", b"b"], [row(1), row(2)])
    inner.unread = {b"b"}
    found = await near(store, b"a", b"b")
    assert found == [row(1), UNREAD]
    assert found[1] is UNREAD
    inner.unread = set()
    assert await near(store, b"a", b"b") == [row(1), row(2)]
    assert inner.reads[1:] == [[b"b"]]


async def test_every_row_is_read_when_nothing_may_be_kept(inner: HeldStore, clock: ManualClock) -> None:
    store = CachedStore(inner, FeatureStoreSettings(near_cache_max_bytes=0), clock)
    for _ in range(2):
        assert await near(store, b"a") == [None]
    assert len(inner.reads) == 2
    await store.aclose()
    with pytest.raises(Unavailable):
        await near(store, b"a")
