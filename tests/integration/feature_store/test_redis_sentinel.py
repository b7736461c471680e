"""Real sentinels: the primary is found, and found again when another takes over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from forebay.errors import NotUsable, Unavailable
from redis import Redis
from redis.exceptions import RedisError

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection, RedisReplyError
from runtime.redis_settings import RedisSettings
from tests.support.store_cluster import free_port, until
from tests.support.store_server import program_of

CLOCK = SystemClock()
SETTINGS = RedisSettings(reconnect_first_s=0.01, reconnect_longest_s=0.1)
UNREAD = bytes(bytearray(b"unread"))


@dataclass(frozen=True)
class Watched:
    """Two servers, the second of which is the first's replica, and sentinels."""

    ports: list[int]
    stores: list[TemporaryStore]
    sentinel_ports: list[int]

    @property
    def url(self) -> str:
        """The URL; its first sentinel is none."""
        places = ",".join(f"127.0.0.1:{port}" for port in [1, *self.sentinel_ports])
        return f"redis+sentinel://{places}/ours"

    def client(self, number: int) -> Redis:
        return Redis(unix_socket_path=str(self.stores[number].socket))

    def sentinel(self, number: int) -> Redis:
        return Redis(port=self.sentinel_ports[number])

    def primary_port(self, number: int = 0) -> int:
        """Return where a sentinel says that the primary is."""
        return int(self.sentinel(number).execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "ours")[1])


@pytest.fixture(params=[1, pytest.param(3, marks=pytest.mark.slow)])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    """Two servers and as many sentinels as the parameter says."""
    program = program_of("redis")
    with ExitStack() as stack:
        ports, sentinel_ports = [free_port(), free_port()], [free_port() for _ in range(request.param)]
        stores = [
            stack.enter_context(TemporaryStore(program, ["--port", str(port), *_QUICK])) for port in ports
        ]
        with Redis(unix_socket_path=str(stores[1].socket)) as replica:
            replica.execute_command("REPLICAOF", "127.0.0.1", ports[0])
            until(lambda: replica.info("replication")["master_link_status"] == "up")
        for port in sentinel_ports:
            stack.enter_context(_sentinel(program, tmp_path, port, ports[0], len(sentinel_ports) // 2 + 1))
        watched = Watched(ports, stores, sentinel_ports)
        until(lambda: all(_knows_all(watched, number) for number in range(len(sentinel_ports))))
        yield watched


_QUICK = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--bind", "127.0.0.1"]


@contextmanager
def _sentinel(program: str, directory: Path, port: int, primary_port: int, quorum: int) -> Iterator[None]:
    """Run a sentinel, which keeps what it learns in a file of its own."""
    file = directory / f"{port}.conf"
    file.write_text(
        f"sentinel monitor ours 127.0.0.1 {primary_port} {quorum}\n"
        "sentinel down-after-milliseconds ours 1000\n"
        "sentinel failover-timeout ours 3000\n"
    )
    command = [program, str(file), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _knows_all(watched: Watched, number: int) -> bool:
    try:
        fields = watched.sentinel(number).execute_command("SENTINEL", "MASTER", "ours")
    except RedisError:
        return False
    said = dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else fields
    texts = {_text(name): _text(value) for name, value in said.items()}
    return (texts["num-slaves"], texts["num-other-sentinels"]) == ("1", str(len(watched.sentinel_ports) - 1))


def _fails_over(watched: Watched) -> bool:
    """Return whether the sentinel has begun, which it refuses until it knows the replica well."""
    with suppress(RedisError):
        watched.sentinel(0).execute_command("SENTINEL", "FAILOVER", "ours")
        return True
    return False


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("how", ["killed", pytest.param("told", marks=pytest.mark.slow)])
async def test_calls_go_on_when_another_server_becomes_the_primary(watched: Watched, how: str) -> None:
    reader = SETTINGS.model_copy(update={"read_from": "replica"})
    with pytest.raises(NotUsable, match="'theirs'"):
        await RedisConnection.connect(watched.url.replace("/ours", "/theirs"), SETTINGS, CLOCK)
    with pytest.raises(Unavailable, match="no sentinel"):
        await RedisConnection.connect("redis+sentinel://127.0.0.1:1/ours", SETTINGS, CLOCK)
    connection = await RedisConnection.connect(watched.url, SETTINGS, CLOCK)
    reading = await RedisConnection.connect(watched.url, reader, CLOCK)
    try:
        await connection.execute("SET", "k", "before")
        assert watched.primary_port() == watched.ports[0]
        if how == "told":
            await asyncio.to_thread(until, lambda: _fails_over(watched))
        else:
            os.kill(watched.stores[0].pid, signal.SIGKILL)
        await _comes_to_write(connection, b"after", watched.ports[1])
        await _comes_to_read(reading, b"after")
    finally:
        await connection.aclose()
        await reading.aclose()


async def _comes_to_read(connection: RedisConnection, value: bytes) -> None:
    for _ in range(1_000):
        with suppress(Unavailable):
            if await connection.get_rows([b"k", b"none"], 10, UNREAD) == [value, None]:
                return
        await asyncio.sleep(0.02)
    raise AssertionError("the new value isn't read")


async def _comes_to_write(connection: RedisConnection, value: bytes, port: int) -> None:
    """Return once a write has reached the primary that is at a port now."""
    for _ in range(1_500):
        try:
            await connection.execute("SET", "k", value)
            role = await connection.execute("CONFIG", "GET", "port")
            if role[1] == b"%d" % port:
                return
        except (Unavailable, RedisReplyError):
            pass
        await asyncio.sleep(0.02)
    raise AssertionError("no write reaches the new primary")
