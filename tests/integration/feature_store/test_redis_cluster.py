"""A real cluster behind one connection: slots that move, scripts that are forgotten, nodes that fail over and
nodes that are gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, NotUsable, Unavailable

from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript
from runtime.redis_connection.slots import slot_of
from runtime.redis_settings import RedisSettings
from tests.support.store_cluster import ClusterNode, StoreCluster, store_cluster, until
from tests.support.store_server import program_of

CLOCK = SystemClock()
SETTINGS = RedisSettings(reconnect_first_s=0.01, reconnect_longest_s=0.1)
UNREAD = bytes(bytearray(b"unread"))
KEYS = [b"f{1:%d}2:3" % number for number in range(300)]


def keys_of(cluster: StoreCluster, number: int) -> list[bytes]:
    """Return those of KEYS that a primary has."""
    return [key for key in KEYS if slot_of(key) in cluster.slots(number)]


async def comes_to(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once it holds."""
    for _ in range(1_000):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it doesn't come to hold")


def move(key: bytes, source: ClusterNode, target: ClusterNode, others: list[ClusterNode]) -> None:
    """Move a key's slot, which holds nothing else."""
    slot = slot_of(key)
    target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    for each in source.run("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.run("MIGRATE", "127.0.0.1", target.port, each, 0, 5000)
    for node in [target, source, *others]:
        node.run("CLUSTER", "SETSLOT", slot, "NODE", target.id)


async def test_slots_are_the_servers_when_keys_have_tags(cluster_connection: RedisConnection) -> None:
    for key in [b"123456789", b"f{3:7}12:1", b"a{}b{c}", b"{x", b"{{x}}"]:
        assert await cluster_connection.execute("CLUSTER", "KEYSLOT", key) == slot_of(key)


async def test_commands_reach_their_nodes_when_keys_are_of_all_slots(
    cluster_connection: RedisConnection, shared_cluster: StoreCluster
) -> None:
    await cluster_connection.execute_many([("SET", key, number) for number, key in enumerate(KEYS)])
    wanted = [b"%d" % number for number in range(len(KEYS))]
    assert await cluster_connection.execute_many([("GET", key) for key in KEYS]) == wanted
    assert await cluster_connection.get_rows(KEYS, 10, UNREAD) == wanted
    assert sum(await cluster_connection.execute_everywhere("DBSIZE")) == len(KEYS)
    assert {key async for found in cluster_connection.scan("f{1:*", 50) for key in found} == set(KEYS)
    assert sorted(place for part in cluster_connection.parted(KEYS) for place in part) == list(range(300))
    with pytest.raises(NotUsable, match="slot"):
        await cluster_connection.execute("MGET", *KEYS[:10])


async def test_another_type_reads_as_absent_when_other_rows_are_there(
    cluster_connection: RedisConnection,
) -> None:
    await cluster_connection.execute("RPUSH", KEYS[0], "x")
    await cluster_connection.execute("SET", KEYS[1], "y")
    assert await cluster_connection.get_rows(KEYS[:3], 10, UNREAD) == [None, b"y", None]


async def test_scripts_run_in_order_when_nodes_have_forgotten_them(
    cluster_connection: RedisConnection,
) -> None:
    script = RedisScript("return redis.call('APPEND', KEYS[1], ARGV[1])")
    for part in ("a", "b"):
        await cluster_connection.execute_everywhere("SCRIPT", "FLUSH")
        calls = [([key], [part]) for key in KEYS]
        assert set(await cluster_connection.eval_each(script, calls)) == {1 if part == "a" else 2}
    assert set(await cluster_connection.get_rows(KEYS, 10, UNREAD)) == {b"ab"}
    wrong = RedisScript("return redis.call('NONE')")
    with pytest.raises(RedisReplyError):
        await cluster_connection.eval_each(wrong, [([KEYS[0]], [])])


async def test_calls_follow_a_slot_when_it_has_moved(
    cluster_connection: RedisConnection, shared_cluster: StoreCluster
) -> None:
    [key, *_] = keys_of(shared_cluster, 0)
    await cluster_connection.execute("SET", key, "v")
    first, second, third = shared_cluster.primaries
    move(key, first, second, [third])
    try:
        assert await cluster_connection.get_rows([KEYS[-1], key], 10, UNREAD) == [None, b"v"]
        assert await cluster_connection.execute("APPEND", key, "w") == 2
    finally:
        move(key, second, first, [third])
    assert await cluster_connection.execute_many([("GET", key), ("GET", KEYS[-1])]) == [b"vw", None]


async def test_calls_are_sent_after_a_key_when_its_slot_is_moving(
    cluster_connection: RedisConnection, shared_cluster: StoreCluster
) -> None:
    [key, *_] = keys_of(shared_cluster, 0)
    first, second, _ = shared_cluster.primaries
    tag = key[1 : key.index(b"}") + 1]
    await cluster_connection.execute("SET", tag + b"stays", "1")
    second.run("CLUSTER", "SETSLOT", slot_of(key), "IMPORTING", first.id)
    first.run("CLUSTER", "SETSLOT", slot_of(key), "MIGRATING", second.id)
    try:
        assert await cluster_connection.execute("SET", key, "v") == b"OK"
        assert second.run("CLUSTER", "COUNTKEYSINSLOT", slot_of(key)) == 1
        assert await cluster_connection.get_rows([key, tag + b"stays"], 10, UNREAD) == [b"v", b"1"]
        with pytest.raises(Unavailable, match="moving"):
            await cluster_connection.execute("MGET", key, tag + b"stays")
    finally:
        for node in (first, second):
            node.run("CLUSTER", "SETSLOT", slot_of(key), "STABLE")


async def test_connecting_succeeds_when_one_of_the_places_is_dead(shared_cluster: StoreCluster) -> None:
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{shared_cluster.primaries[2].port}"
    connection = await RedisConnection.connect(url, SETTINGS, CLOCK)
    assert connection.connected
    assert connection.is_cluster
    await connection.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await connection.execute("GET", "k")


async def test_connecting_fails_when_nobody_answers_or_it_is_no_cluster(redis_url: str) -> None:
    with pytest.raises(Unavailable, match="can't connect"):
        await RedisConnection.connect("redis+cluster://127.0.0.1:1", SETTINGS, CLOCK)
    connection = RedisConnection.open("redis+cluster://127.0.0.1:1", SETTINGS, CLOCK)
    with pytest.raises((DeadlineExceeded, Unavailable)):
        await connection.execute("GET", "k", deadline=Deadline.after(0.001, CLOCK.monotonic_s()))
    await connection.aclose()


async def test_calls_fail_when_the_connection_may_not_follow_a_moved_slot(
    shared_cluster: StoreCluster,
) -> None:
    [key, *_] = keys_of(shared_cluster, 0)
    connection = await RedisConnection.connect(shared_cluster.url, SETTINGS, CLOCK, lasting=False)
    first, second, third = shared_cluster.primaries
    move(key, first, second, [third])
    try:
        with pytest.raises(Unavailable, match="moving"):
            await connection.execute("GET", key)
    finally:
        move(key, second, first, [third])
        await connection.aclose()


def is_whole(node: ClusterNode) -> bool:
    """Return whether a node takes all others for well."""
    said = node.run("CLUSTER", "INFO").decode()
    return "cluster_slots_ok:16384" in said and "cluster_slots_pfail:0" in said


async def test_rows_of_a_slow_node_alone_are_missed_when_the_deadline_passes(
    cluster_connection: RedisConnection, shared_cluster: StoreCluster
) -> None:
    await cluster_connection.execute_many([("SET", key, "v") for key in KEYS])
    slow = set(keys_of(shared_cluster, 1))
    os.kill(shared_cluster.primaries[1].store.pid, signal.SIGSTOP)
    try:
        soon = Deadline.after(1.0, CLOCK.monotonic_s())
        rows = await cluster_connection.get_rows(KEYS, 10, UNREAD, soon)
        assert rows == [UNREAD if key in slow else b"v" for key in KEYS]
        late = Deadline.after(0.01, CLOCK.monotonic_s())
        with pytest.raises(DeadlineExceeded):
            await cluster_connection.get_rows(sorted(slow), 10, UNREAD, late)
    finally:
        os.kill(shared_cluster.primaries[1].store.pid, signal.SIGCONT)
        until(lambda: all(is_whole(node) for node in shared_cluster.primaries))


@pytest.fixture(scope="module")
def frail() -> Iterator[StoreCluster]:
    """A cluster whose first primary has a replica."""
    with store_cluster(program_of("valkey"), replicas=1) as cluster:
        yield cluster


@pytest.fixture
async def connection(frail: StoreCluster) -> AsyncIterator[RedisConnection]:
    connection = await RedisConnection.connect(frail.url, SETTINGS, CLOCK)
    yield connection
    await connection.aclose()


async def test_rows_are_read_from_a_replica_when_it_keeps_up(frail: StoreCluster) -> None:
    settings = SETTINGS.model_copy(update={"read_from": "replica"})
    connection = await RedisConnection.connect(frail.url, settings, CLOCK)
    try:
        await connection.execute_many([("SET", key, "v") for key in KEYS])
        until(lambda: frail.replicas[0].run("DBSIZE") == len(keys_of(frail, 0)))
        frail.replicas[0].run("CONFIG", "RESETSTAT")

        async def from_replica() -> bool:
            assert set(await connection.get_rows(KEYS, 10, UNREAD)) == {b"v"}
            return "cmdstat_get" in frail.replicas[0].run("INFO", "commandstats")

        await comes_to(from_replica)
    finally:
        await connection.aclose()


async def test_calls_go_on_when_a_replica_takes_over(
    connection: RedisConnection, frail: StoreCluster
) -> None:
    keys = keys_of(frail, 0)
    await connection.execute_many([("SET", key, "before") for key in keys])
    pair = [frail.primaries[0], frail.replicas[0]]
    [replica] = [node for node in pair if node.run("ROLE")[0] == b"slave"]
    until(lambda: replica.run("INFO", "replication")["master_link_status"] == "up")
    replica.run("CLUSTER", "FAILOVER")

    async def written() -> bool:
        try:
            await connection.execute_many([("SET", key, "after") for key in keys])
        except Unavailable:
            return False
        return bool(replica.run("ROLE")[0] == b"master")

    await comes_to(written)
    assert set(await connection.get_rows(keys, 10, UNREAD)) == {b"after"}


async def test_only_a_nodes_own_keys_fail_when_it_is_killed(
    connection: RedisConnection, frail: StoreCluster
) -> None:
    await connection.execute_many([("SET", key, "v") for key in KEYS])
    os.kill(frail.primaries[2].store.pid, signal.SIGKILL)
    gone = set(keys_of(frail, 2))

    async def unread() -> bool:
        rows = await connection.get_rows(KEYS, 10, UNREAD)
        return {key for key, row in zip(KEYS, rows, strict=True) if row is UNREAD} == gone

    await comes_to(unread)
    alive = [key for key in KEYS if key not in gone]
    assert set(await connection.get_rows(alive, 10, UNREAD)) == {b"v"}
    with pytest.raises(Unavailable):
        await connection.get_rows(sorted(gone), 10, UNREAD)
    with pytest.raises(Unavailable):
        await connection.execute_many([("GET", key) for key in KEYS])
    assert not connection.connected
