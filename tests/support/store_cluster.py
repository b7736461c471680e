"""Fixtures that give a test a real cluster: three primaries that share the slots, replicas where asked."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from forebay.errors import Unavailable
from redis import Redis

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.store_server import program_of

SLOTS = 16_384
_SETTLED_S = 30.0
_TRIES = 5


@dataclass(frozen=True)
class ClusterNode:
    """One server of a cluster."""

    port: int
    bus_port: int
    store: TemporaryStore

    def run(self, *command: object) -> Any:
        """Run a command there, wherever its keys belong."""
        with Redis(unix_socket_path=str(self.store.socket)) as client:
            return client.execute_command(*command)

    @property
    def id(self) -> str:
        """What the cluster calls it."""
        return str(self.run("CLUSTER", "MYID").decode())


@dataclass(frozen=True)
class StoreCluster:
    """A running cluster: `primaries` share the slots evenly, in order."""

    primaries: list[ClusterNode]
    replicas: list[ClusterNode]

    @property
    def url(self) -> str:
        """The URL of the cluster, by two of its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.primaries[:2])

    def slots(self, number: int) -> range:
        """Return the slots of a primary."""
        return range(number * SLOTS // len(self.primaries), (number + 1) * SLOTS // len(self.primaries))


@contextmanager
def store_cluster(program: str, replicas: int = 0, options: Sequence[str] = ()) -> Iterator[StoreCluster]:
    """Run a cluster of three primaries, the first of which have a replica each."""
    with ExitStack() as stack:
        nodes = [_node(stack, program, options) for _ in range(3 + replicas)]
        cluster = StoreCluster(nodes[:3], nodes[3:])
        for number, node in enumerate(nodes):
            node.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                node.run("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)
        for number, node in enumerate(cluster.primaries):
            slots = cluster.slots(number)
            node.run("CLUSTER", "ADDSLOTSRANGE", slots.start, slots.stop - 1)
        until(lambda: all(_is_settled(node, len(nodes)) for node in nodes))
        for replica, primary in zip(cluster.replicas, cluster.primaries, strict=False):
            replica.run("CLUSTER", "REPLICATE", primary.id)
        until(
            lambda: all(
                node.run("INFO", "replication")["master_link_status"] == "up" for node in cluster.replicas
            )
        )
        until(lambda: all(len(_addresses(node)) == len(nodes) for node in nodes))
        yield cluster


def until(condition: Any) -> None:
    """Return once a condition holds."""
    end_s = time.monotonic() + _SETTLED_S
    while not condition():
        assert time.monotonic() < end_s, "it doesn't come to hold"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[StoreCluster]:
    """A cluster of three, shared by the session; its data is whatever the last test left."""
    with store_cluster(program_of("redis")) as cluster:
        yield cluster


@pytest.fixture
async def cluster_connection(shared_cluster: StoreCluster) -> AsyncIterator[RedisConnection]:
    """A connection to the shared cluster, emptied before the test."""
    connection = await RedisConnection.connect(shared_cluster.url, RedisSettings(), SystemClock())
    try:
        await connection.execute_everywhere("FLUSHALL")
        yield connection
    finally:
        await connection.aclose()


def _node(stack: ExitStack, program: str, options: Sequence[str]) -> ClusterNode:
    """Run a node; on other ports where somebody has taken its own meanwhile."""
    for _ in range(_TRIES - 1):
        with suppress(Unavailable):
            return _started(stack, program, options)
    return _started(stack, program, options)


def _started(stack: ExitStack, program: str, options: Sequence[str]) -> ClusterNode:
    port, bus_port = free_port(), free_port()
    cluster = ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
    cluster += ["--cluster-node-timeout", "5000", "--cluster-require-full-coverage", "no"]
    cluster += ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", *cluster, *options]
    return ClusterNode(port, bus_port, stack.enter_context(TemporaryStore(program, arguments)))


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_settled(node: ClusterNode, count: int) -> bool:
    said = node.run("CLUSTER", "INFO").decode()
    facts = ("cluster_state:ok", f"cluster_known_nodes:{count}\r", f"cluster_slots_ok:{SLOTS}")
    return all(fact in said for fact in facts)


def _addresses(node: ClusterNode) -> set[int]:
    """Return the ports of the nodes that a node tells clients of."""
    return {int(place[1]) for _, _, *places in node.run("CLUSTER", "SLOTS") for place in places}
