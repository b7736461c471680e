"""A cluster as one connection: each command goes to the node that has its key's slot, commands for one node
together in one pipeline. What a node doesn't have any more is sent after it. `topology` has the map.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from forebay.deadline import NEVER, Deadline
from forebay.errors import Error, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.errors import RedisReplyError, again
from runtime.redis_connection.node import Node
from runtime.redis_connection.packing import Argument, packed
from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_connection.slots import command_key, slot_of
from runtime.redis_connection.topology import Topology
from runtime.redis_settings import RedisSettings

_MOST_TRIES: Final = 5
"""How often a command is sent where its key has moved to, or while it is moving."""
_MOVING_S: Final = 0.005
"""How long a command waits whose keys are between two nodes."""
_ASKING = packed((b"ASKING",))

Commands = Sequence[Sequence[Argument]]
Posted = asyncio.Future[Any] | Error


class Cluster:
    """Nodes that share keys by slots.

    A node that is out of reach fails the commands for its own slots alone. A command that was on its way to
    it may have taken effect.
    """

    def __init__(self, url: RedisUrl, settings: RedisSettings, clock: Clock, lasting: bool) -> None:
        self._map = Topology(url, settings, clock, lasting)
        self._lasting = lasting

    @property
    def connected(self) -> bool:
        """Whether all nodes are up."""
        return self._map.known and all(node.connected for node in self._map.nodes)

    async def wait(self) -> None:
        """Return once there is a map. Raises: what the first attempt to read it met."""
        await self._map.wait(NEVER)

    async def execute(self, args: Sequence[Argument], deadline: Deadline = NEVER) -> Any:
        """As RedisConnection.execute."""
        [reply] = await self.execute_each([args], deadline)
        if isinstance(reply, RedisReplyError):
            raise reply.translated()
        return reply

    async def execute_many(self, commands: Commands, deadline: Deadline) -> list[Any]:
        """As RedisConnection.execute_many."""
        replies = await self.execute_each(commands, deadline)
        for reply in replies:
            if isinstance(reply, Error):
                raise reply
        return replies

    async def nodes(self, deadline: Deadline) -> list[Node]:
        """Return the nodes that have slots. Raises: as `wait`; DeadlineExceeded."""
        await self._map.wait(deadline)
        return self._map.nodes

    async def execute_each(self, commands: Commands, deadline: Deadline) -> list[Any]:
        """As `execute_many`; what a node should have answered that is out of reach is its Error among the
        replies. Raises: the first where all are.
        """
        if not self._map.known:
            await self._map.wait(deadline)
        replies: list[Any] = [None] * len(commands)
        keys = [command_key(command) for command in commands]
        where = {place: self._node_of(key) for place, key in enumerate(keys)}
        asking: set[int] = set()
        for attempt in range(_MOST_TRIES):
            await self._exchange(commands, where, asking, replies, deadline)
            where, asking = await self._redirected(
                where, keys, replies, deadline, last=attempt + 1 == _MOST_TRIES
            )
            if not where:
                break
        failures = [reply for reply in replies if isinstance(reply, Error)]
        self._suspect(failures)
        if failures and len(failures) == len(replies):
            raise failures[0]
        return replies

    async def get_rows(
        self, keys: Sequence[bytes], chunk: int, unread: bytes, deadline: Deadline
    ) -> list[Any]:
        """As RedisConnection.get_rows. Cost: a pipeline of GETs per node, two steps of Python per key."""
        if not self._map.known:
            await self._map.wait(deadline)
        owners = self._map.owners
        groups: dict[Node | None, list[int]] = {}
        for place, key in enumerate(keys):
            groups.setdefault(owners[slot_of(key)], []).append(place)
        rows: list[Any] = [unread] * len(keys)
        left: list[int] = []
        failure: Error | None = None
        posted = [(places, self._post_gets(node, keys, places, deadline)) for node, places in groups.items()]
        for places, replies in await _answers(posted):
            if isinstance(replies, Error):
                failure = replies
                left += places if self._map.readers else ()  # a replica may have been asked
                continue
            for place, reply in zip(places, replies, strict=True):
                rows[place] = reply
            if RedisReplyError in map(type, replies):
                left += [place for place in places if type(rows[place]) is RedisReplyError]
        if left:
            failure = await self._get_left(keys, left, rows, unread, deadline) or failure
        self._suspect([failure])
        if failure is not None and all(row is unread for row in rows):
            raise again(failure)
        return rows

    async def aclose(self) -> None:
        """Close all connections for good."""
        await self._map.aclose()

    async def _get_left(
        self, keys: Sequence[bytes], places: Sequence[int], rows: list[Any], unread: bytes, deadline: Deadline
    ) -> Error | None:
        """Read the rows at `places` by the usual way of a command; return what has failed of it."""
        try:
            replies = await self.execute_each([(b"GET", keys[place]) for place in places], deadline)
        except Error as error:
            replies = [error] * len(places)
        failure: Error | None = None
        for place, reply in zip(places, replies, strict=True):
            if isinstance(reply, Error) or (type(reply) is RedisReplyError and reply.code != "WRONGTYPE"):
                rows[place], failure = unread, _as_error(reply)
            else:
                rows[place] = reply if type(reply) is bytes else None
        return failure

    def _post_gets(
        self, node: Node | None, keys: Sequence[bytes], places: Sequence[int], deadline: Deadline
    ) -> Posted:
        """Ask a replica of the node where one is to be read from, else the node."""
        wanted = [keys[place] for place in places]
        request = b"".join([b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in wanted])
        usable = (
            [replica.node for replica in self._map.readers.get(node, ()) if replica.usable] if node else []
        )
        return _post(random.choice(usable) if usable else node, request, len(wanted), deadline)

    def _suspect(self, failures: Sequence[Error | None]) -> None:
        """Have the map read again where a node failed; one that is slow may be where it was."""
        if any(isinstance(failure, Unavailable) for failure in failures):
            self._map.suspect()

    def _node_of(self, key: bytes | None) -> Node | None:
        """Return who has a key; for a command without one, any node that is up."""
        if key is not None:
            return self._map.owners[slot_of(key)]
        nodes = self._map.nodes
        return random.choice([node for node in nodes if node.connected] or nodes)

    async def _exchange(
        self,
        commands: Commands,
        where: Mapping[int, Node | None],
        asking: Collection[int],
        replies: list[Any],
        deadline: Deadline,
    ) -> None:
        """Send the commands at the places of `where`, a pipeline per node, and fill in their replies."""
        groups: dict[Node | None, list[int]] = {}
        for place, node in where.items():
            groups.setdefault(node, []).append(place)
        posted: list[tuple[list[int], Posted]] = []
        for node, places in groups.items():
            parts = [(_ASKING if place in asking else b"") + packed(commands[place]) for place in places]
            count = len(places) + sum(place in asking for place in places)
            posted.append((places, _post(node, b"".join(parts), count, deadline)))
        for places, answered in await _answers(posted):
            if isinstance(answered, Error):
                for place in places:
                    replies[place] = again(answered)
                continue
            left = iter(answered)
            for place in places:
                if place in asking:
                    next(left)
                replies[place] = next(left)

    async def _redirected(
        self,
        sent: Mapping[int, Node | None],
        keys: Sequence[bytes | None],
        replies: list[Any],
        deadline: Deadline,
        *,
        last: bool,
    ) -> tuple[dict[int, Node | None], set[int]]:
        """Return where to send again what was `sent` to the wrong node, and which of it is to say ASKING.
        A node that names no host for another means its own."""
        where: dict[int, Node | None] = {}
        asking: set[int] = set()
        is_moving = False
        for place, asked in sent.items():
            reply = replies[place]
            if type(reply) is not RedisReplyError or reply.code not in ("MOVED", "ASK", "TRYAGAIN"):
                continue
            if last or not self._lasting:
                self._map.suspect()
                replies[place] = Unavailable("the Redis cluster is moving the slots of these keys")
                continue
            if reply.code == "TRYAGAIN":
                is_moving, where[place] = True, self._node_of(keys[place])
                continue
            _, slot, to = str(reply).split(" ", 2)
            host, _, port = to.rpartition(":")
            host = host if host not in ("", "?") or asked is None else asked.name.rpartition(":")[0]
            if reply.code == "MOVED":
                where[place] = await self._map.moved(int(slot), host, int(port), deadline)
            else:
                where[place] = await self._map.node_at(host, int(port), deadline)
                asking.add(place)
        if is_moving:
            await asyncio.sleep(_MOVING_S)
        return where, asking


def _post(node: Node | None, request: bytes, count: int, deadline: Deadline) -> Posted:
    """Send packed commands to a node; return the future of their replies, or why there is none."""
    try:
        if node is None:
            raise Unavailable("no node of the Redis cluster has the slot of these keys")
        return node.post(request, count, deadline)
    except Error as error:
        return error


async def _answers(posted: Sequence[tuple[list[int], Posted]]) -> list[tuple[list[int], list[Any] | Error]]:
    """Return what became of each request. They are all on their way: to wait for one is to wait for all."""
    answers: list[tuple[list[int], list[Any] | Error]] = []
    try:
        for places, future in posted:
            try:
                answers.append((places, future if isinstance(future, Error) else await future))
            except Error as error:
                answers.append((places, error))
    finally:
        for _, future in posted:
            if not isinstance(future, Error):
                future.cancel()
    return answers


def _as_error(reply: Error | RedisReplyError) -> Error:
    meant = reply.translated() if isinstance(reply, RedisReplyError) else reply
    return meant if isinstance(meant, Error) else Unavailable(str(meant))
