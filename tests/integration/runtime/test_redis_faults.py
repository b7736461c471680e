"""The multiplexed connection behind a network that fails in every way: through a proxy, to real servers."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, NotUsable, Unavailable

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.fault_proxy import FaultProxy
from tests.support.until import until

CLOCK = SystemClock()
SETTINGS = RedisSettings(
    max_unanswered_age_s=10.0, connect_timeout_s=10.0, reconnect_first_s=0.002, reconnect_longest_s=0.02
)
IMPATIENT = SETTINGS.model_copy(update={"max_unanswered_age_s": 0.3, "connect_timeout_s": 0.5})
"""For what is about silence: elsewhere a machine that pauses would be taken for a silent server."""


@pytest.fixture
async def proxy(store_server: TemporaryStore) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(store_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def connection(proxy: FaultProxy) -> AsyncIterator[RedisConnection]:
    connection = await RedisConnection.connect(proxy.url, SETTINGS, CLOCK)
    yield connection
    await connection.aclose()


async def test_replies_are_whole_when_they_come_byte_by_byte(
    proxy: FaultProxy, connection: RedisConnection
) -> None:
    proxy.sliced = True
    replies = await asyncio.gather(*(connection.execute("ECHO", str(number)) for number in range(50)))
    assert replies == [str(number).encode() for number in range(50)]


async def test_replies_match_their_callers_when_late_ones_are_abandoned(
    proxy: FaultProxy, connection: RedisConnection
) -> None:
    proxy.delay_s = 10.0
    late = Deadline.after(0.05, CLOCK.monotonic_s())
    calls = [
        asyncio.create_task(
            connection.execute("ECHO", str(number), **({"deadline": late} if number % 2 else {}))
        )
        for number in range(200)
    ]
    await asyncio.wait(calls[1::2])
    proxy.hurry()
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(reply, DeadlineExceeded) for reply in replies[1::2])
    assert replies[::2] == [str(number).encode() for number in range(0, 200, 2)]
    assert proxy.accepted_count == 1


async def test_socket_is_replaced_when_the_server_falls_silent(proxy: FaultProxy) -> None:
    connection = await RedisConnection.connect(proxy.url, IMPATIENT, CLOCK)
    proxy.black_hole = True
    replies = await asyncio.gather(*(connection.execute("PING") for _ in range(10)), return_exceptions=True)
    assert all(isinstance(reply, Unavailable) for reply in replies)
    await until(lambda: not connection.connected)
    with pytest.raises(Unavailable):
        await connection.execute("PING")
    proxy.black_hole = False
    await until(lambda: connection.connected)
    assert await connection.execute("ECHO", "back") == b"back"
    assert proxy.accepted_count > 1
    await connection.aclose()


@pytest.mark.parametrize("fault", [FaultProxy.reset, FaultProxy.half_close])
async def test_waiting_calls_fail_and_later_ones_succeed_when_the_socket_ends(
    proxy: FaultProxy, connection: RedisConnection, fault: Callable[[FaultProxy], None]
) -> None:
    proxy.black_hole = True
    waiting = asyncio.create_task(connection.execute("PING"))
    await asyncio.sleep(0.005)
    fault(proxy)
    with pytest.raises(Unavailable, match=r"lost|closed"):
        await waiting
    proxy.black_hole = False
    await until(lambda: connection.connected)
    assert await connection.execute("ECHO", "back") == b"back"


async def test_idle_connection_comes_back_when_the_server_hangs_up(
    proxy: FaultProxy, connection: RedisConnection
) -> None:
    proxy.reset()
    await until(lambda: proxy.accepted_count == 2 and connection.connected)
    assert await connection.execute("PING") == b"PONG"


async def test_attempts_are_spaced_out_when_the_server_refuses(
    proxy: FaultProxy, connection: RedisConnection
) -> None:
    began_s = CLOCK.monotonic_s()
    proxy.refuse = True
    proxy.reset()
    await until(lambda: proxy.accepted_count >= 10)
    # After the first: 2, 4, 8, 16 ms, then four times 20 ms, each shortened by chance by up to a half.
    assert CLOCK.monotonic_s() - began_s > 0.05
    with pytest.raises(Unavailable):
        await connection.execute("PING")
    proxy.refuse = False
    await until(lambda: connection.connected)


async def test_call_waits_until_its_deadline_when_the_first_attempt_is_under_way(proxy: FaultProxy) -> None:
    proxy.black_hole = True
    connection = RedisConnection.open(proxy.url, IMPATIENT, CLOCK)
    with pytest.raises(DeadlineExceeded):
        await connection.execute("PING", deadline=Deadline.after(0.02, CLOCK.monotonic_s()))
    with pytest.raises(Unavailable, match=r"took over|silent"):
        await connection.execute("PING")
    proxy.black_hole = False
    await until(lambda: connection.connected)
    assert await connection.execute("PING") == b"PONG"
    await connection.aclose()


async def test_call_waits_for_the_connection_when_the_first_attempt_succeeds(proxy: FaultProxy) -> None:
    connection = RedisConnection.open(proxy.url, SETTINGS, CLOCK)
    assert await connection.execute("PING") == b"PONG"
    await connection.aclose()


async def test_nothing_is_left_when_connecting_is_cancelled(proxy: FaultProxy) -> None:
    proxy.black_hole = True
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await RedisConnection.connect(proxy.url, SETTINGS, CLOCK)
    ours = [task for task in asyncio.all_tasks() - before if task.get_name().startswith("redis")]
    assert ours == []


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate for localhost, `cert.pem`, and its key, `key.pem`."""
    directory = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return directory


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


async def test_calls_are_encrypted_when_the_url_is_rediss(
    store_server: TemporaryStore, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    async with FaultProxy(store_server.socket, server_tls) as proxy:
        url = f"{proxy.url}?ssl_ca_certs={certificate}/cert.pem"
        connection = await RedisConnection.connect(url, RedisSettings(), CLOCK)
        assert await connection.execute("ECHO", "x" * 100_000) == b"x" * 100_000
        await connection.aclose()


async def test_connecting_is_refused_when_the_certificate_is_unknown(
    store_server: TemporaryStore, server_tls: ssl.SSLContext
) -> None:
    async with FaultProxy(store_server.socket, server_tls) as proxy:
        with pytest.raises(NotUsable, match="certificate"):
            await RedisConnection.connect(proxy.url, RedisSettings(), CLOCK)
