"""The map of a cluster: which node has which slots, kept up to date in the background; `cluster` sends by
it."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final

from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.address import RedisAddress
from runtime.redis_connection.errors import RedisReplyError, again
from runtime.redis_connection.node import Node
from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_connection.replica import Replica
from runtime.redis_connection.slots import SLOT_COUNT, SlotRange, slot_ranges
from runtime.redis_settings import RedisSettings

Place = tuple[str, int]

_LOOK_S: Final = 30.0
"""How often the map is read although nothing says that it has changed."""


class Topology:
    """The nodes of a cluster and `owners`, the node of each slot; None where a slot is nobody's.

    The map is read again soon after `suspect`, and while a node is out of reach at intervals that grow to
    `reconnect_longest_s`. A node that is in no map any more is closed one map later: requests may be under
    way.
    """

    def __init__(self, url: RedisUrl, settings: RedisSettings, clock: Clock, lasting: bool) -> None:
        self.owners: list[Node | None] = [None] * SLOT_COUNT
        self.readers: dict[Node, list[Replica]] = {}
        self._url = url
        self._settings = settings
        self._clock = clock
        self._lasting = lasting
        self._nodes: dict[Place, Node] = {}
        self._replicas: dict[Place, Replica] = {}
        self._leaving: list[Node | Replica] = []
        self._failure: Error | None = Unavailable("the Redis cluster's slots aren't known yet")
        self._suspected = asyncio.Event()
        self.tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the first attempt to read the map has ended."""
        self._keeper = asyncio.create_task(self._keep(), name="redis cluster map")

    @property
    def nodes(self) -> list[Node]:
        """The nodes that have slots."""
        return list(self._nodes.values())

    @property
    def known(self) -> bool:
        """Whether there is a map."""
        return self._failure is None

    async def wait(self, deadline: Deadline) -> None:
        """Return once there is a map. Raises: DeadlineExceeded; what the first attempt to read it met."""
        if not self.tried.done():
            remaining_s = deadline.remaining_s(self._clock.monotonic_s())
            await asyncio.wait([self.tried], timeout=None if deadline == NEVER else remaining_s)
            if not self.tried.done():
                raise DeadlineExceeded("the Redis cluster's slots weren't known before the deadline")
        if self._failure is not None:
            raise again(self._failure)

    def suspect(self) -> None:
        """Have the map read again."""
        self._suspected.set()

    async def moved(self, slot: int, host: str, port: int, deadline: Deadline) -> Node:
        """Take note that a slot has moved; return its node. As `node_at`."""
        node = await self.node_at(host, port, deadline)
        self.owners[slot] = node
        self.suspect()
        return node

    async def node_at(self, host: str, port: int, deadline: Deadline) -> Node:
        """Return the node at a place, which has tried to connect, or still does at the deadline."""
        node = self._node((host, port))
        if not node.tried.done():
            remaining_s = max(0.0, deadline.remaining_s(self._clock.monotonic_s()))
            await asyncio.wait([node.tried], timeout=None if deadline == NEVER else remaining_s)
        return node

    async def aclose(self) -> None:
        """Close all connections for good."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])  # to await it would swallow a cancellation of our own
        self._failure = Unavailable("the connection to Redis is closed")
        if not self.tried.done():
            self.tried.set_result(None)
        for one in [*self._nodes.values(), *self._replicas.values(), *self._leaving]:
            await one.aclose()

    async def _keep(self) -> None:
        first_s, longest_s = self._settings.reconnect_first_s, self._settings.reconnect_longest_s
        wait_s = 0.0
        while True:
            try:
                await self._adopt(await self._read())
            except Error as failure:
                if not self.known:
                    self._failure = failure
            if not self.tried.done():
                self.tried.set_result(None)
            if self.known and all(node.connected for node in self._nodes.values()):
                wait_s = 0.0
                await self._rest(_LOOK_S)
            else:
                wait_s = min(max(2 * wait_s, first_s), longest_s)
            await asyncio.sleep(max(wait_s, first_s) * random.uniform(0.5, 1))

    async def _rest(self, longest_s: float) -> None:
        """Wait until the map is suspected to be wrong, or that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._suspected.wait()
        self._suspected.clear()

    async def _read(self) -> list[SlotRange]:
        """Return what the first node says that answers. Raises: Unavailable; NotUsable."""
        known = [node for node in self._nodes.values() if node.connected]
        random.shuffle(known)
        for place, node in [(place, node) for place, node in self._nodes.items() if node in known]:
            with suppress(Error, RedisReplyError):
                return await self._ask(node, place[0])
        failures: list[Error] = []
        for address in self._url.places:
            try:
                return await self._ask_seed(address)
            except Error as error:
                failures.append(error)
            except RedisReplyError as error:
                failures.append(Unavailable(f"Redis at {address.name} tells no slots: {error}"))
        if len(failures) == 1:
            raise failures[0]
        raise Unavailable("no node of the Redis cluster answers: " + "; ".join(e.message for e in failures))

    async def _ask_seed(self, address: RedisAddress) -> list[SlotRange]:
        node = Node.at(address, self._settings, self._clock, lasting=False)
        try:
            await node.wait()
            return await self._ask(node, address.host)
        finally:
            await node.aclose()

    async def _ask(self, node: Node, host: str) -> list[SlotRange]:
        deadline = Deadline.after(self._settings.connect_timeout_s, self._clock.monotonic_s())
        return slot_ranges(await node.execute(("CLUSTER", "SLOTS"), deadline), host)

    async def _adopt(self, ranges: list[SlotRange]) -> None:
        """Make a map the one that requests go by, once its nodes have tried to connect."""
        primaries = {one.primary for one in ranges}
        await asyncio.wait([self._node(place).tried for place in primaries])
        owners: list[Node | None] = [None] * SLOT_COUNT
        for one in ranges:
            owners[one.first : one.last + 1] = [self._nodes[one.primary]] * (one.last + 1 - one.first)
        self.owners = owners
        self._failure = None
        self._adopt_replicas(ranges)
        for gone in self._leaving:
            await gone.aclose()
        self._leaving = [self._nodes.pop(place) for place in set(self._nodes) - primaries]

    def _adopt_replicas(self, ranges: list[SlotRange]) -> None:
        if self._settings.read_from != "replica":
            return
        wanted = {place: one.primary for one in ranges for place in one.replicas}
        for place in set(self._replicas) - set(wanted):
            self._leaving.append(self._replicas.pop(place))
        self.readers = {}
        for place, primary in wanted.items():
            if place not in self._replicas:
                self._replicas[place] = self._replica(place)
            self.readers.setdefault(self._nodes[primary], []).append(self._replicas[place])

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            address = self._url.at(*place)
            node = Node.at(address, self._settings, self._clock, lasting=self._lasting)
            self._nodes[place] = node
        return node

    def _replica(self, place: Place) -> Replica:
        address = self._url.at(*place)

        async def find() -> RedisAddress:
            return address

        return Replica(find, address.name, self._settings, self._clock, in_cluster=True)
