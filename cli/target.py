"""What a command works on: the store that the settings name (or the embedded one, started or joined) and one
application's registry in it.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from forebay.errors import InvalidRequest, NotUsable

from registry.records import IDS_KEY
from registry.registry import Registry
from runtime.clock import Clock, SystemClock
from runtime.embedded_store import join_embedded_store
from runtime.redis_connection import RedisConnection
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """An application in a store, for as long as a command runs."""

    settings: Settings
    connection: RedisConnection
    registry: Registry
    clock: Clock

    @property
    def app(self) -> str:
        return self.registry.app


def store_url(settings: Settings) -> str:
    """Return the URL of the store: the one that is set, else of the embedded store, started if none runs."""
    return settings.redis.url or join_embedded_store(settings.redis.embedded_directory).url


@asynccontextmanager
async def open_target(settings: Settings, app: str = "") -> AsyncIterator[Target]:
    """Connect to the store and choose the application: `app`, else the setting's, else the only applied one.

    Raises: Unavailable; NotUsable where nothing is applied; InvalidRequest where several are, none named.
    """
    clock = SystemClock()
    connection = await RedisConnection.connect(store_url(settings), settings.redis, clock)
    try:
        name = app or settings.app or await only_application(connection, clock)
        yield Target(settings, connection, Registry(connection, name, clock), clock)
    finally:
        await connection.aclose()


async def require_applied(target: Target) -> None:
    """Raises: NotUsable where the application that was named isn't applied."""
    if not await target.registry.live_number():
        raise NotUsable(f"no application {target.app} is applied: run `forebay apply FILE` first")


async def only_application(connection: RedisConnection, clock: Clock) -> str:
    """Return the only applied application. Raises: NotUsable; InvalidRequest naming those there are."""
    applied = await applications(connection, clock)
    if not applied:
        raise NotUsable("no application is applied: run `forebay apply FILE` first")
    if len(applied) > 1:
        raise InvalidRequest(f"several applications are applied: choose one with --app: {', '.join(applied)}")
    return applied[0]


async def applications(connection: RedisConnection, clock: Clock) -> list[str]:
    """Return the names of the applied applications."""
    fields = await connection.execute("HKEYS", IDS_KEY)
    names = sorted({field.decode().split(":")[1] for field in fields})
    return [name for name in names if await Registry(connection, name, clock).live_number()]


def who() -> str:
    """Return who runs this command, as releases note it: user@machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"unknown@{socket.gethostname()}"  # a container's user without a name
