"""A stream worker whose store is full, read-only, paused, killed, or fails over: it waits, says why, and goes
on by itself; the rows at the end equal a recount from the events that the source has kept."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from forebay.errors import Unavailable

from jobs.stream.partitions import events_key
from jobs.stream.worker import StreamWorker
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.kafka_brokers import KafkaTopicUnderTest
from tests.support.store_server import program_of
from tests.support.stream_worker import inspection, now_us, until, worker_of
from tests.support.trend_application import APP, PARTITIONS, YAML, Event, Trend, some_events


@dataclass
class Server:
    """A Valkey of the test's own, which keeps its data in an append-only file; at a path that may be moved to
    another."""

    directory: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.start()

    @property
    def socket(self) -> Path:
        return self.directory / "store.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        command = [program_of("valkey"), "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self.directory), "--save", "", "--appendonly", "yes"]
        self.process = subprocess.Popen([*command, "--logfile", str(self.directory / "log")])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    async def connect(self) -> RedisConnection:
        """Return a connection, once it answers."""
        while True:
            try:
                return await RedisConnection.connect(self.url, RedisSettings(), SystemClock())
            except Unavailable:
                await asyncio.sleep(0.02)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "one")
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def own(tmp_path: Path, server: Server) -> AsyncIterator[Trend]:
    """The application of trends in the test's own server."""
    connection = await server.connect()
    trend = Trend(tmp_path, connection)
    await trend.apply()
    yield trend
    await connection.aclose()


@asynccontextmanager
async def working(trend: Trend, url: str) -> AsyncIterator[StreamWorker]:
    """Run a worker during the block."""
    stop = asyncio.Event()
    worker = worker_of(trend, url, once=False, chunk_events=50)
    running = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await running


async def caught_up(trend: Trend) -> None:
    async def nothing_left() -> bool:
        try:
            [status] = await inspection(trend).statuses()
        except Unavailable:
            return False
        return not any(
            part.lag_events is None or part.lag_events or part.problem for part in status.partitions
        )

    await until(nothing_left)


async def says(worker: StreamWorker, text: str) -> None:
    async def said() -> bool:
        problems = [worker.state.problem, *(state.problem for state in worker.state.partitions.values())]
        return any(text in problem for problem in problems)

    await until(said)


async def kept_events(trend: Trend) -> list[Event]:
    """Return what the stream holds."""
    events: list[Event] = []
    kinds: dict[str, Callable[[str], object]] = {"rating": float}
    for partition in range(PARTITIONS):
        found = await trend.connection.execute("XRANGE", events_key(APP, "ratings", partition), "-", "+")
        for _, flat in found:
            texts = [part.decode() for part in flat]
            pairs = zip(texts[::2], texts[1::2], strict=True)
            events.append({name: kinds.get(name, int)(text) for name, text in pairs})
    return events


async def test_worker_waits_when_the_store_is_full(own: Trend, server: Server) -> None:
    events = some_events(200, now_us())
    await own.publish(events[:100])
    async with working(own, server.url):
        await caught_up(own)
    await own.publish(events[100:])
    await own.connection.execute("CONFIG", "SET", "maxmemory", 1)
    async with working(own, server.url) as worker:
        await says(worker, "maxmemory")
        await own.connection.execute("CONFIG", "SET", "maxmemory", 0)
        await caught_up(own)
    await own.check_recount(events)


async def test_worker_waits_when_the_store_is_a_replica(own: Trend, server: Server) -> None:
    events = some_events(200, now_us())
    await own.publish(events)
    await own.connection.execute("REPLICAOF", "127.0.0.1", 1)
    async with working(own, server.url) as worker:
        stuck = asyncio.create_task(until_problem(worker))
        await asyncio.wait([stuck], timeout=10)
        await own.connection.execute("REPLICAOF", "NO", "ONE")
        await caught_up(own)
        assert stuck.done()
        assert "takes no writes" in stuck.result()
    await own.check_recount(events)


async def until_problem(worker: StreamWorker) -> str:
    async def said() -> bool:
        return bool(worker.state.problem or any(s.problem for s in worker.state.partitions.values()))

    await until(said)
    return worker.state.problem or next(s.problem for s in worker.state.partitions.values() if s.problem)


async def test_rows_equal_a_recount_when_the_store_is_killed_and_comes_back(
    own: Trend, server: Server
) -> None:
    events = some_events(1_200, now_us())
    async with working(own, server.url) as worker:
        for start in range(0, 1_200, 400):
            await own.publish(events[start : start + 400])
            await until_read(worker, 1)
            server.kill()
            server.start()
            probe = await server.connect()
            await probe.aclose()
            await until_connected(own)
        await caught_up(own)
    await own.check_recount(await kept_events(own))


async def until_connected(trend: Trend) -> None:
    async def answers() -> bool:
        try:
            return bool(await trend.connection.execute("PING"))
        except Unavailable:
            return False

    await until(answers)


@pytest.mark.slow
async def test_rows_equal_a_recount_when_the_store_pauses(own: Trend, server: Server) -> None:
    events = some_events(2_000, now_us())
    async with working(own, server.url) as worker:
        await own.publish(events)
        await until_read(worker, 1)
        server.signal(signal.SIGSTOP)
        try:
            await says(worker, "silent")
        finally:
            server.signal(signal.SIGCONT)
        await until_connected(own)
        await caught_up(own)
    await own.check_recount(events)


async def test_rows_equal_a_recount_when_a_lagging_replica_takes_over(
    tmp_path: Path, own: Trend, server: Server
) -> None:
    """Kafka keeps what the dead primary alone had applied; a worker that just went on would skip it."""
    topic = KafkaTopicUnderTest()
    kafka = f"kafka: {{servers: '{topic.servers}', topic: {topic.topic}}}"
    await own.apply(YAML.replace("redis: {stream: ratings, partitions: 4}", kafka))
    replica = Server(tmp_path / "two")
    front = tmp_path / "front.sock"
    front.symlink_to(server.socket)
    events = some_events(900, now_us())
    try:
        async with failing_over(own, f"unix://{front}") as worker:
            topic.publish(events[:300])
            await until_read(worker, 300)
            await copy(server, replica)
            topic.publish(events[300:600])
            await until_read(worker, 600)
            front.unlink()
            front.symlink_to(replica.socket)
            server.kill()
            topic.publish(events[600:])
            after = Trend(tmp_path, await replica.connect())

            async def all_there() -> bool:
                tiles = await after.tiles("user_trend")
                return sum(parts[0] for row in tiles.values() for parts in row.values()) >= len(events)

            await until(all_there)
        await after.check_recount(events)
        await after.connection.aclose()
    finally:
        replica.kill()


@asynccontextmanager
async def failing_over(trend: Trend, url: str) -> AsyncIterator[StreamWorker]:
    """Run a worker whose own look at the registry goes through `url` too."""
    connection = await RedisConnection.connect(url, RedisSettings(), SystemClock())
    try:
        async with working(Trend(trend.directory, connection), url) as worker:
            yield worker
    finally:
        await connection.aclose()


async def until_read(worker: StreamWorker, count: int) -> None:
    async def read() -> bool:
        return sum(state.read for state in worker.state.partitions.values()) >= count

    await until(read)


async def copy(primary: Server, replica: Server) -> None:
    """Make the replica what the primary is now, and no more: from then on it lags."""
    await asyncio.sleep(0.2)
    source, target = await primary.connect(), await replica.connect()
    cursor = b"0"
    while True:
        cursor, keys = await source.execute("SCAN", cursor, "COUNT", 1_000)
        for key in keys:
            dumped, left_ms = await source.execute("DUMP", key), await source.execute("PTTL", key)
            if dumped is not None:
                await target.execute("RESTORE", key, max(0, left_ms), dumped, "REPLACE")
        if cursor == b"0":
            break
    await source.aclose()
    await target.aclose()
