"""The watcher on real servers: it tells each live release once, and outlives a registry it can't read."""

from __future__ import annotations

import asyncio

import pytest
from forebay.errors import Corrupt

from registry.registry import Registry
from registry.watcher import ReleaseWatcher
from runtime.clock import ManualClock
from runtime.redis_connection import RedisConnection
from tests.support.application_texts import application

POLL_S = 0.001


@pytest.fixture
def registry(connection: RedisConnection) -> Registry:
    return Registry(connection, "movies", ManualClock())


async def test_live_release_comes_first_when_there_is_one(registry: Registry) -> None:
    _, release = await registry.apply(application(), "/a")

    assert await anext(ReleaseWatcher(registry, POLL_S)) == release


async def test_release_comes_when_it_is_published(registry: Registry) -> None:
    watcher = ReleaseWatcher(registry, POLL_S)
    waiting = asyncio.create_task(anext(watcher))
    await asyncio.sleep(0)
    _, first = await registry.apply(application(), "/a")
    assert await waiting == first

    waiting = asyncio.create_task(anext(watcher))
    second = await registry.publish(lambda release: release.with_view("user_taste", 1))
    assert await waiting == second


async def test_watcher_goes_on_when_the_registry_could_not_be_read(
    registry: Registry, connection: RedisConnection
) -> None:
    _, release = await registry.apply(application(), "/a")
    await connection.execute("SET", "forebay:{movies}:release", "broken")
    watcher = ReleaseWatcher(registry, POLL_S)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(watcher)
    assert isinstance(watcher.failure, Corrupt)

    await connection.execute("SET", "forebay:{movies}:release", release.number)
    assert await anext(watcher) == release
    assert watcher.failure is None
