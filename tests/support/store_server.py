"""Fixtures that give a test a real server of every kind that the machine has, Valkey and Redis.

`redis_url`, `connection` and whatever depends on them run once per kind. In CI a missing kind is a failure.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore, server_programs
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings

KINDS = ("valkey", "redis")


def program_of(kind: str) -> str:
    """Return the binary of a kind of server; without it the test is skipped, or fails in CI."""
    program = server_programs().get(kind)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {kind} server: in CI both kinds must be installed")
        pytest.skip(f"no {kind} server on this machine")
    return program


@pytest.fixture(scope="session", params=KINDS)
def store_server(request: pytest.FixtureRequest) -> Iterator[TemporaryStore]:
    """A running server of each kind, shared by the session; its data is whatever the last test left."""
    with TemporaryStore(program_of(request.param)) as store:
        yield store


@pytest.fixture
def redis_url(store_server: TemporaryStore) -> str:
    """The URL of the shared server. Take `connection` too for an empty one."""
    return store_server.url


@pytest.fixture
def redis_settings() -> RedisSettings:
    """The connection's defaults."""
    return RedisSettings()


@pytest.fixture
async def connection(redis_url: str, redis_settings: RedisSettings) -> AsyncIterator[RedisConnection]:
    """A connection to the shared server, emptied before the test."""
    connection = await RedisConnection.connect(redis_url, redis_settings, SystemClock())
    try:
        await connection.execute("FLUSHALL")
        yield connection
    finally:
        await connection.aclose()
