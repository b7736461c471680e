"""One server as a connection: where it is written and the registry is read, and, where rows are to be read
from replicas, one of those beside it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from typing import Any

from forebay.deadline import Deadline
from forebay.errors import Unavailable

from runtime.clock import Clock
from runtime.redis_connection.address import RedisAddress
from runtime.redis_connection.errors import RedisReplyError
from runtime.redis_connection.node import Node
from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_connection.replica import Replica
from runtime.redis_connection.sentinel import ROLE, Sentinels, check_primary
from runtime.redis_settings import RedisSettings


class Server:
    """The primary of some servers that hold the same keys, found by its address or by sentinels.

    Rows are read from a replica where `read_from` says so and one is usable, and where that fails from the
    primary.
    """

    def __init__(self, url: RedisUrl, settings: RedisSettings, clock: Clock, lasting: bool) -> None:
        self._url = url
        self._sentinels = Sentinels(url, settings, clock) if url.kind == "sentinel" else None
        if self._sentinels is not None:
            self._primary = Node(
                self._sentinels.primary,
                url.primary,
                settings,
                clock,
                lasting=lasting,
                setup=ROLE,
                check=check_primary,
            )
        else:
            self._primary = Node.at(url.server, settings, clock, lasting=lasting)
        self.execute = self._primary.execute
        self.execute_many = self._primary.execute_many
        self._replica: Replica | None = None
        if settings.read_from == "replica":
            self._replica = Replica(self._find_replica, f"a replica of {self._primary.name}", settings, clock)

    @property
    def connected(self) -> bool:
        """Whether the primary is up."""
        return self._primary.connected

    async def wait(self) -> None:
        """Return once the primary answers. Raises: what the first attempt met."""
        await self._primary.wait()

    async def nodes(self, deadline: Deadline) -> list[Node]:
        """Return the primary."""
        return [self._primary]

    async def get_rows(
        self, keys: Sequence[bytes], chunk: int, unread: bytes, deadline: Deadline
    ) -> list[Any]:
        """As RedisConnection.get_rows."""
        replica = self._replica
        if replica is not None and replica.usable:
            try:
                return await _get_rows(replica.node, keys, chunk, deadline)
            except Unavailable:
                pass  # the primary has them as well
        if len(keys) <= chunk:
            rows: list[Any] = await self._primary.execute((b"MGET", *keys), deadline)
            return rows
        return await _get_rows(self._primary, keys, chunk, deadline)

    async def aclose(self) -> None:
        """Close the sockets for good."""
        if self._replica is not None:
            await self._replica.aclose()
        await self._primary.aclose()

    async def _find_replica(self) -> RedisAddress:
        """Return where a replica is, as the sentinels or the primary say. Raises: Unavailable."""
        if self._sentinels is not None:
            return await self._sentinels.replica()
        try:
            role = await self._primary.execute(("ROLE",))
        except RedisReplyError as error:
            raise Unavailable(f"Redis at {self._primary.name} doesn't tell its replicas: {error}") from error
        replicas = role[2] if role[0] == b"master" else []
        if not replicas:
            raise Unavailable(f"Redis at {self._primary.name} has no replica")
        host, port, _ = random.choice(replicas)
        return self._url.at(host.decode(), int(port))


async def _get_rows(node: Node, keys: Sequence[bytes], chunk: int, deadline: Deadline) -> list[Any]:
    starts = range(0, len(keys), chunk)
    replies = await node.execute_many([(b"MGET", *keys[start : start + chunk]) for start in starts], deadline)
    for reply in replies:
        if type(reply) is RedisReplyError:
            raise reply.translated()
    return list(chain.from_iterable(replies))
