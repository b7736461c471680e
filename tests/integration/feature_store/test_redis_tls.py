"""TLS with a real server that asks for a client's certificate; the certificates are made here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from forebay.errors import InvalidRequest, NotUsable, Unavailable

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.store_cluster import free_port
from tests.support.store_server import program_of

CLOCK = SystemClock()
_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA, and certificates of it for a server and a client; and another CA."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other"):
        openssl(directory, f"req -x509 {_KEY} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem")
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(directory, f"req {_KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        signed = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names"
        openssl(directory, f"{signed} -out {name}.pem")
    return directory


def openssl(directory: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def port(files: Path) -> Iterator[int]:
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "yes", "--bind", "127.0.0.1"]
    options += ["--tls-cert-file", f"{files}/server.pem", "--tls-key-file", f"{files}/server.key"]
    options += ["--tls-ca-cert-file", f"{files}/ca.pem"]
    with TemporaryStore(program_of("redis"), options):
        yield port


async def test_calls_are_answered_when_both_sides_show_certificates(files: Path, port: int) -> None:
    settings = RedisSettings(
        tls_ca_file=f"{files}/ca.pem",
        tls_certificate_file=f"{files}/client.pem",
        tls_key_file=f"{files}/client.key",
    )
    connection = await RedisConnection.connect(f"rediss://127.0.0.1:{port}", settings, CLOCK)
    assert await connection.execute("SET", "k", b"x" * 100_000) == b"OK"
    assert await connection.execute("STRLEN", "k") == 100_000
    await connection.aclose()


async def test_connecting_fails_when_a_certificate_is_asked_for_in_vain(files: Path, port: int) -> None:
    settings = RedisSettings(tls_ca_file=f"{files}/ca.pem")
    with pytest.raises(Unavailable):
        await RedisConnection.connect(f"rediss://127.0.0.1:{port}", settings, CLOCK)


async def test_connecting_is_refused_when_the_server_is_not_trusted(files: Path, port: int) -> None:
    settings = RedisSettings(tls_ca_file=f"{files}/other.pem")
    with pytest.raises(NotUsable, match="certificate"):
        await RedisConnection.connect(f"rediss://127.0.0.1:{port}", settings, CLOCK)


async def test_connecting_is_refused_when_a_file_is_missing(port: int) -> None:
    settings = RedisSettings(tls_ca_file="/nowhere/ca.pem")
    with pytest.raises(InvalidRequest, match="TLS files"):
        await RedisConnection.connect(f"rediss://127.0.0.1:{port}", settings, CLOCK)
