"""A connection to one server that many requests share and that comes back by itself.

At most one `link` (a socket) at a time; a background task replaces it when it is lost, and asks anew where
the server is. What callers use is `connection`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, NotUsable, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.address import RedisAddress
from runtime.redis_connection.errors import RedisReplyError, again
from runtime.redis_connection.link import Link
from runtime.redis_connection.packing import Argument, packed, packed_many
from runtime.redis_settings import RedisSettings

Command = tuple[Argument, ...]
Find = Callable[[], Awaitable[RedisAddress]]
"""Returns where a server is now. Raises: Unavailable; NotUsable."""
Check = Callable[[Sequence[Any]], None]
"""Raises where the replies to a handshake's own commands say that the server isn't the one that is meant."""


class Node:
    """One server: one socket, many requests in flight, replies matched in order.

    `find` says where the server is, each time that it is dialled. `setup` are commands of the handshake,
    whose replies `check` may refuse by raising. One that isn't `lasting` doesn't come back when it is lost.

    Cancellation: a caller that is cancelled, or whose deadline passes, leaves its place in the queue, and its
    reply is dropped when it comes: nobody else notices.
    Units: a deadline is an instant of `clock`, which must run with the event loop's.
    """

    def __init__(
        self,
        find: Find,
        name: str,
        settings: RedisSettings,
        clock: Clock,
        *,
        lasting: bool = True,
        setup: Sequence[Command] = (),
        check: Check | None = None,
    ) -> None:
        self._find = find
        self.name = name
        self._settings = settings
        self._clock = clock
        self._lasting = lasting
        self._setup = setup
        self._check = check
        self._link: Link | None = None
        self._since_s = 0.0
        self._failure: Error = Unavailable(f"not yet connected to Redis at {name}")
        self.tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the first attempt to connect has ended."""
        self._keeper = asyncio.create_task(self._stay_connected(), name=f"redis {name}")

    @classmethod
    def at(
        cls,
        address: RedisAddress,
        settings: RedisSettings,
        clock: Clock,
        *,
        lasting: bool = True,
        setup: Sequence[Command] = (),
        check: Check | None = None,
    ) -> Node:
        """Return the node of a server that stays where it is."""

        async def find() -> RedisAddress:
            return address

        return cls(find, address.name, settings, clock, lasting=lasting, setup=setup, check=check)

    async def wait(self) -> None:
        """Return once the server answers. Raises: what the first attempt met."""
        await self._connected_link(NEVER)

    @property
    def connected(self) -> bool:
        """Whether a call made now is sent; a server that is gone may take `max_unanswered_age_s` to show."""
        return self._link is not None and not self._link.lost.done()

    async def execute(self, args: Command, deadline: Deadline = NEVER) -> Any:
        """As RedisConnection.execute."""
        link = self._link or await self._connected_link(deadline)
        reply = await link.send(packed(args), 0, deadline)
        if type(reply) is RedisReplyError:
            self._heed(reply, link)
            raise reply.translated()
        return reply

    async def execute_many(self, commands: Sequence[Sequence[Argument]], deadline: Deadline) -> list[Any]:
        """As RedisConnection.execute_many."""
        link = self._link or await self._connected_link(deadline)
        replies: list[Any] = await link.send(packed_many(commands), len(commands), deadline)
        if RedisReplyError in map(type, replies):
            for reply in replies:
                if type(reply) is RedisReplyError:
                    self._heed(reply, link)
        return replies

    def post(self, request: bytes, count: int, deadline: Deadline) -> asyncio.Future[Any]:
        """Send packed commands at once; return the future of the list of their replies.

        Raises: Unavailable where the server isn't connected; as Link.send.
        """
        if self._link is None:
            raise again(self._failure)
        return self._link.send(request, count, deadline)

    def _heed(self, reply: RedisReplyError, link: Link) -> None:
        """Leave a server that isn't the primary any more: who is may be found by dialling again. Not at once
        where it was only just dialled: then it is what is found, and others may read there."""
        age_s = self._clock.monotonic_s() - self._since_s
        if reply.code == "READONLY" and age_s > self._settings.reconnect_longest_s:
            link.fail(Unavailable("this Redis server is a replica now and takes no writes"))

    async def aclose(self) -> None:
        """Close the socket for good; who still waits gets Unavailable."""
        self._keeper.cancel()
        await asyncio.wait([self._keeper])  # to await it would swallow a cancellation of our own
        self._down(_CLOSED)

    async def _connected_link(self, deadline: Deadline) -> Link:
        """Return the link, once the first attempt to connect has ended. Raises: what that attempt met."""
        if not self.tried.done():
            remaining_s = deadline.remaining_s(self._clock.monotonic_s())
            await asyncio.wait([self.tried], timeout=None if deadline == NEVER else remaining_s)
            if not self.tried.done():
                raise DeadlineExceeded(f"not connected to Redis at {self.name} before the deadline")
        if self._link is None:
            raise again(self._failure)
        return self._link

    async def _stay_connected(self) -> None:
        """Keep a link up. Attempts are spaced out until a link has lived for the longest wait: a server that
        accepts us and hangs up must not be dialled in a tight loop.
        """
        wait_s = 0.0
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))
            wait_s = min(
                max(2 * wait_s, self._settings.reconnect_first_s), self._settings.reconnect_longest_s
            )
            try:
                link = await self._dial()
            except Error as failure:
                self._down(failure)
                continue
            since_s = self._clock.monotonic_s()
            await self._serve(link)
            if not self._lasting:
                return
            if self._clock.monotonic_s() - since_s > self._settings.reconnect_longest_s:
                wait_s = 0.0

    async def _serve(self, link: Link) -> None:
        self._link = link
        self._since_s = self._clock.monotonic_s()
        if not self.tried.done():
            self.tried.set_result(None)
        try:
            await asyncio.wait([link.lost])  # to await it would cancel it with this task
            self._down(link.lost.result())
        finally:
            await link.end(_CLOSED)

    def _down(self, failure: Error) -> None:
        self._link = None
        self._failure = failure
        if not self.tried.done():
            self.tried.set_result(None)

    async def _dial(self) -> Link:
        """Return a link that has answered PING. Raises: Unavailable; NotUsable."""
        address = await self._find()
        self.name = address.name
        link = Link(self._settings, self._clock)
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await _open_socket(address, link)
                before, after = address.handshake()
                commands = [*before, *self._setup, *after]
                replies = await link.send(packed_many(commands), len(commands), NEVER)
                self._check_handshake(address, commands, replies)
        except (Error, OSError) as error:
            await link.end(Unavailable("connecting failed"))
            raise self._dial_failure(address.name, error) from error
        except BaseException:
            await link.end(_CLOSED)
            raise
        return link

    def _check_handshake(
        self, address: RedisAddress, commands: Sequence[Command], replies: list[Any]
    ) -> None:
        """Raise what the server refused. That it takes no client name is no refusal: some proxies don't."""
        for command, reply in zip(commands, replies, strict=True):
            if type(reply) is RedisReplyError and command[0] != "CLIENT":
                raise _refusal(address, reply)
        if self._check is not None:
            start = len(commands) - len(self._setup) - len(address.handshake()[1])
            self._check(replies[start : start + len(self._setup)])

    def _dial_failure(self, name: str, error: Error | OSError) -> Error:
        match error:
            case Error():
                return type(error)(f"Redis at {name}: {error.message}")
            case TimeoutError():
                return Unavailable(
                    f"connecting to Redis at {name} took over {self._settings.connect_timeout_s:g} s"
                )
            case ssl.SSLCertVerificationError():
                return NotUsable(f"the certificate of Redis at {name} isn't accepted: {error.verify_message}")
            case _:
                return Unavailable(f"can't connect to Redis at {name}: {error.strerror or error}")


async def _open_socket(address: RedisAddress, link: Link) -> None:
    loop = asyncio.get_running_loop()
    if address.path:
        await loop.create_unix_connection(lambda: link, address.path)
    else:
        await loop.create_connection(lambda: link, address.host, address.port, ssl=address.tls)


def _refusal(address: RedisAddress, reply: RedisReplyError) -> Error:
    if reply.code == "WRONGPASS":
        who = f"user {address.username!r}" if address.username else "the default user"
        return NotUsable(f"it refuses {who} or the password that redis.url gives it")
    failure = reply.translated()
    return failure if isinstance(failure, Error) else NotUsable(f"refused: {reply}")


_CLOSED = Unavailable("the connection to Redis is closed")
