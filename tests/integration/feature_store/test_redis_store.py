"""What RedisStore does beyond the conformance suite: other types, other writers, a server in trouble."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Unavailable

from feature_store.redis_store import RedisStore
from feature_store.row_header import MAX_TIME_US, pack_header
from feature_store.types import Outcome
from runtime.clock import SystemClock
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings

APPLIED, OLDER, INVALID = Outcome.APPLIED, Outcome.OLDER, Outcome.INVALID
SMALL = FeatureStoreSettings(read_chunk_rows=2, write_chunk_rows=2, load_chunk_rows=2)


@pytest.fixture
def store(connection: RedisConnection) -> RedisStore:
    return RedisStore(connection)


@pytest.fixture
async def other(redis_url: str) -> AsyncIterator[RedisConnection]:
    """A second connection, for those who interfere."""
    other = await RedisConnection.connect(redis_url, RedisSettings(), SystemClock())
    yield other
    await other.aclose()


async def calls_of(connection: RedisConnection, command: str) -> int:
    """Return how often the server has run a command since CONFIG RESETSTAT."""
    report = (await connection.execute("INFO", "commandstats")).decode()
    for line in report.splitlines():
        if line.startswith(f"cmdstat_{command}:calls="):
            return int(line.split("=")[1].split(",")[0])
    return 0


async def test_rows_are_read_by_one_command_when_they_fit_a_chunk(
    store: RedisStore, connection: RedisConnection
) -> None:
    await connection.execute("CONFIG", "RESETSTAT")
    await store.get_many([b"key:%d" % number for number in range(500)])
    assert await calls_of(connection, "mget") == 1


async def test_server_is_not_held_when_the_rows_are_long(
    store: RedisStore, connection: RedisConnection
) -> None:
    keys = [b"key:%d" % number for number in range(7)]
    rows = [pack_header(1, number, 0) + b"x" * 700_000 for number in range(7)]
    await connection.execute("CONFIG", "RESETSTAT")
    await store.load_many(keys, rows)
    assert await calls_of(connection, "mset") == 7
    assert (await store.put_many(keys, rows)).tolist() == [APPLIED] * 7
    assert await calls_of(connection, "evalsha") + await calls_of(connection, "eval") >= 7
    assert await store.get_many(keys) == rows


async def test_key_reads_as_absent_and_is_replaced_when_it_holds_another_type(
    store: RedisStore, connection: RedisConnection
) -> None:
    row = pack_header(1, -5, 0)
    await connection.execute("RPUSH", "list", "x")
    assert await store.get_many([b"list", b"none"]) == [None, None]
    assert (await store.put_many([b"list"], [row])).tolist() == [APPLIED]
    assert await store.get_many([b"list"]) == [row]


EDGES = [0, 1, -1, 2**31, 2**32 - 1, -(2**32), 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("place", ["event", "write"])
async def test_times_are_compared_exactly_when_what_is_stored_is_out_of_range(
    store: RedisStore, place: str
) -> None:
    def row(time_us: int) -> bytes:
        times = (time_us, 0) if place == "event" else (0, time_us)
        return struct.pack("<HBBqq", 1, 1, 0, *times)

    pairs = [(old, new) for old in EDGES for new in EDGES if abs(new) <= MAX_TIME_US]
    keys = [b"%d:%d" % pair for pair in pairs]
    await store.load_many(keys, [row(old) for old, _ in pairs])
    outcomes = await store.put_many(keys, [row(new) for _, new in pairs])
    assert outcomes.tolist() == [OLDER if old > new else APPLIED for old, new in pairs]


async def test_rows_end_as_in_order_when_the_scripts_are_flushed_meanwhile(
    connection: RedisConnection, other: RedisConnection
) -> None:
    store = RedisStore(connection, SMALL)

    async def flush() -> None:
        while True:
            await other.execute("SCRIPT", "FLUSH")

    flushing = asyncio.create_task(flush())
    try:
        keys = [b"key:%d" % (number % 20) for number in range(400)]
        rows = [pack_header(1, 7, 7) + b"%d" % number for number in range(400)]
        assert (await store.put_many(keys, rows)).tolist() == [APPLIED] * 400
        assert await store.get_many(keys[:20]) == rows[-20:]
    finally:
        flushing.cancel()


async def test_newest_of_all_stays_when_many_writers_race(
    connection: RedisConnection, other: RedisConnection
) -> None:
    stores = [RedisStore(connection, SMALL), RedisStore(other, SMALL)]
    keys = [b"key:%d" % number for number in range(10)]
    writes = [
        stores[batch % 2].put_many(keys, [pack_header(1, batch * 7 % 31, batch)] * 10) for batch in range(31)
    ]
    await asyncio.gather(*writes)
    newest = max((batch * 7 % 31, batch) for batch in range(31))
    assert await stores[0].get_many(keys) == [pack_header(1, *newest)] * 10


async def test_writes_are_unavailable_when_the_server_is_full(
    store: RedisStore, connection: RedisConnection
) -> None:
    await store.load_many([b"k"], [pack_header(1, 1, 1)])
    await connection.execute("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="maxmemory"):
            await store.load_many([b"k"] * 600, [pack_header(1, 2, 2)] * 600)
        with pytest.raises(Unavailable, match="maxmemory"):
            await store.put_many([b"k"], [pack_header(1, 2, 2)])
        assert await store.get_many([b"k"]) == [pack_header(1, 1, 1)]
        assert await store.delete_many([b"k"]) == 1
    finally:
        await connection.execute("CONFIG", "SET", "maxmemory", 0)


async def test_a_late_read_disturbs_nobody_when_its_deadline_passes(
    store: RedisStore, connection: RedisConnection
) -> None:
    await store.load_many([b"k"], [pack_header(1, 1, 1)])
    await connection.execute("CLIENT", "PAUSE", 300)
    late = Deadline.after(0.02, SystemClock().monotonic_s())
    calls = [store.get_many([b"k"]), store.get_many([b"k"], late), store.get_many([b"x"])]
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(second, DeadlineExceeded)
    assert (first, third) == ([pack_header(1, 1, 1)], [None])


async def test_calls_are_unavailable_when_the_store_is_closed(store: RedisStore) -> None:
    await store.aclose()
    with pytest.raises(Unavailable):
        await store.get_many([b"k"])
    with pytest.raises(Unavailable):
        await store.load_many([b"k"], [pack_header(1, 1, 1)])
