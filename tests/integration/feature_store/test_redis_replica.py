"""Rows read from a replica, and from the primary where none is usable."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from redis import Redis

from feature_store.redis_store import RedisStore
from feature_store.row_header import pack_header
from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.store_cluster import free_port, until
from tests.support.store_server import program_of

SETTINGS = RedisSettings(read_from="replica", reconnect_first_s=0.01, reconnect_longest_s=0.1)
ROW = pack_header(1, 1, 1)


@dataclass(frozen=True)
class Pair:
    """A primary and its replica."""

    port: int
    primary: Redis
    replica: Redis

    def reads(self, client: Redis) -> int:
        """Return how many rows a server was asked for."""
        stats = client.info("commandstats")
        return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        port = free_port()
        quick = ["--repl-diskless-sync-delay", "0", "--bind", "127.0.0.1"]
        program = program_of("valkey")
        first = stack.enter_context(TemporaryStore(program, ["--port", str(port), *quick]))
        second = stack.enter_context(TemporaryStore(program, ["--port", str(free_port()), *quick]))
        primary = stack.enter_context(Redis(unix_socket_path=str(first.socket)))
        replica = stack.enter_context(Redis(unix_socket_path=str(second.socket)))
        replica.execute_command("REPLICAOF", "127.0.0.1", port)
        until(lambda: replica.info("replication")["master_link_status"] == "up")
        yield Pair(port, primary, replica)


@pytest.fixture
async def store(pair: Pair) -> AsyncIterator[RedisStore]:
    url = f"redis://127.0.0.1:{pair.port}"
    store = RedisStore(await RedisConnection.connect(url, SETTINGS, SystemClock()))
    yield store
    await store.aclose()


async def comes_to(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1_000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it doesn't come to hold")


async def test_rows_come_from_the_replica_while_it_hears_of_its_primary(
    pair: Pair, store: RedisStore
) -> None:
    await store.put_many([b"k"], [ROW])

    async def from_replica() -> bool:
        return await store.get_many([b"k", b"x"]) == [ROW, None] and pair.reads(pair.replica) > 0

    await comes_to(from_replica)
    before = pair.reads(pair.primary)
    await store.get_many([b"k"])
    assert pair.reads(pair.primary) == before
    pair.replica.execute_command("REPLICAOF", "NO", "ONE")
    await store.put_many([b"new"], [ROW])

    async def from_primary() -> bool:
        return await store.get_many([b"new"]) == [ROW]

    await comes_to(from_primary)
    assert pair.reads(pair.primary) > before


async def test_rows_come_from_the_primary_when_the_replica_is_gone(pair: Pair, store: RedisStore) -> None:
    await store.put_many([b"k"], [ROW])
    os.kill(pair.replica.info("server")["process_id"], signal.SIGKILL)
    for _ in range(20):
        assert await store.get_many([b"k"]) == [ROW]
        await asyncio.sleep(0.005)
