"""A connection to Redis or Valkey as callers use it, whatever is behind the URL: one server (`node`), servers
that sentinels watch, or a cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from forebay.deadline import NEVER, Deadline
from forebay.errors import InvalidRequest

from runtime.clock import Clock
from runtime.redis_connection.address import TlsFiles
from runtime.redis_connection.cluster import Cluster
from runtime.redis_connection.errors import RedisReplyError
from runtime.redis_connection.packing import Argument
from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_connection.script import RedisScript
from runtime.redis_connection.server import Server
from runtime.redis_connection.slots import slot_of
from runtime.redis_settings import RedisSettings


class RedisConnection:
    """One socket per server, many requests in flight, replies matched in order. Replies are bytes, int, None
    or lists.

    Cancellation: a caller that is cancelled, or whose deadline passes, leaves its place in the queue, and its
    reply is dropped when it comes: nobody else notices.
    Units: a deadline is an instant of `clock`, which must run with the event loop's.
    """

    def __init__(self, server: Server | Cluster) -> None:
        self._server = server
        self._cluster = server if isinstance(server, Cluster) else None

    @classmethod
    def open(
        cls, url: str, settings: RedisSettings, clock: Clock, *, lasting: bool = True
    ) -> RedisConnection:
        """Return a connection that is being made: calls wait for the first attempt, until their deadline.

        For a server that starts before its Redis does. One that isn't `lasting` doesn't come back when it is
        lost, and follows no key to another node: for who must know that what the server has said since is
        still so, which a failover may change. Raises: InvalidRequest for a wrong URL.
        """
        files = TlsFiles(
            *map(str, (settings.tls_ca_file, settings.tls_certificate_file, settings.tls_key_file))
        )
        try:
            place = RedisUrl.parse(url, files)
        except ValueError as error:
            raise InvalidRequest(str(error), field="redis.url") from error
        if place.kind == "cluster":
            return cls(Cluster(place, settings, clock, lasting))
        return cls(Server(place, settings, clock, lasting))

    @classmethod
    async def connect(
        cls, url: str, settings: RedisSettings, clock: Clock, *, lasting: bool = True
    ) -> RedisConnection:
        """Return a connection that is up, `lasting` as in `open`.

        Raises: InvalidRequest for a wrong URL; Unavailable where nobody answers or the server isn't ready;
        NotUsable where it refuses us.
        """
        connection = cls.open(url, settings, clock, lasting=lasting)
        try:
            await connection._server.wait()
        except BaseException:
            await connection.aclose()
            raise
        return connection

    @property
    def connected(self) -> bool:
        """Whether a call made now is sent; a server that is gone may take `max_unanswered_age_s` to show."""
        return self._server.connected

    @property
    def is_cluster(self) -> bool:
        """Whether the keys of one command must share a slot."""
        return self._cluster is not None

    def execute(self, *args: Argument, deadline: Deadline = NEVER) -> Coroutine[Any, Any, Any]:
        """Return the reply to one command; on a cluster, of the node that has its first key.

        Raises: DeadlineExceeded; Unavailable, at once while disconnected, or where the server loads;
        NotUsable where it refuses us or is full; RedisReplyError for any other error reply.
        Cost: one round trip, one future.
        """
        return self._server.execute(args, deadline)

    async def execute_many(
        self, commands: Sequence[Sequence[Argument]], deadline: Deadline = NEVER
    ) -> list[Any]:
        """Return the replies to `commands`, in order; error replies are RedisReplyErrors among them. On a
        cluster those for one node are done in order, and others beside them.

        Raises: DeadlineExceeded; Unavailable; InvalidRequest past `max_unanswered_bytes`. How many of the
        commands took effect is then unknown. Cost: one write, one round trip per node.
        """
        if not commands:
            return []
        return await self._server.execute_many(commands, deadline)

    def get_rows(
        self, keys: Sequence[bytes], chunk: int, unread: bytes, deadline: Deadline = NEVER
    ) -> Coroutine[Any, Any, list[Any]]:
        """Return the string under each key: None where there is none or something else, `unread` where the
        node that has it is out of reach, or too slow, though others aren't. May be read from a replica.

        Raises: as `execute`, where nothing could be read. Cost: one round trip per node; on one server an
        MGET per `chunk` of keys.
        """
        return self._server.get_rows(keys, chunk, unread, deadline)

    async def execute_everywhere(self, *args: Argument, deadline: Deadline = NEVER) -> list[Any]:
        """Return the reply of every server that has keys of its own: of one, or of each node of a cluster.

        Raises: as `execute`, for any of them.
        """
        return [await node.execute(args, deadline) for node in await self._server.nodes(deadline)]

    async def scan(self, pattern: str, count: int) -> AsyncIterator[list[bytes]]:
        """Yield the keys that match, some perhaps twice, as SCAN does. Raises: as `execute`."""
        for node in await self._server.nodes(NEVER):
            cursor = b"0"
            while True:
                command = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
                cursor, found = await node.execute(command)
                yield found
                if cursor == b"0":
                    break

    async def eval_script(
        self,
        script: RedisScript,
        keys: Sequence[Argument],
        args: Sequence[Argument],
        deadline: Deadline = NEVER,
    ) -> Any:
        """Return what `script` returns; the server that doesn't know it is given its text.

        Raises: as `execute`. Cost: one round trip, two where the script is unknown.
        """
        try:
            return await self.execute("EVALSHA", script.sha, len(keys), *keys, *args, deadline=deadline)
        except RedisReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return await self.execute("EVAL", script.text, len(keys), *keys, *args, deadline=deadline)

    async def eval_each(
        self,
        script: RedisScript,
        calls: Sequence[tuple[Sequence[Argument], Sequence[Argument]]],
        deadline: Deadline = NEVER,
    ) -> list[Any]:
        """Return what `script` returns for each call's keys and arguments, in one go; nodes that don't know
        it are given its text. Calls that share a key must be made one after the other.

        Raises: as `execute`, for any of them.
        """
        commands = [("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls]
        replies = await self.execute_many(commands, deadline)
        unknown = [place for place, reply in enumerate(replies) if _is_unknown(reply)]
        if unknown:
            await self.execute_everywhere("SCRIPT", "LOAD", script.text, deadline=deadline)
            again = await self.execute_many([commands[place] for place in unknown], deadline)
            for place, reply in zip(unknown, again, strict=True):
                replies[place] = reply
        for reply in replies:
            if type(reply) is RedisReplyError:
                raise reply.translated()
        return replies

    def parted(self, keys: Sequence[bytes]) -> list[list[int]]:
        """Return the places of the keys that one command may have together: all, or on a cluster slot by
        slot, those of one slot in order."""
        if not self.is_cluster:
            return [list(range(len(keys)))]
        parts: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            parts.setdefault(slot_of(key), []).append(place)
        return list(parts.values())

    async def aclose(self) -> None:
        """Close the sockets for good; who still waits gets Unavailable."""
        await self._server.aclose()


def _is_unknown(reply: Any) -> bool:
    return type(reply) is RedisReplyError and reply.code == "NOSCRIPT"
