"""A connection that many requests share and that comes back by itself.

At most one `link` (a socket) at a time; a background task replaces it when it is lost.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, InvalidRequest, NotUsable, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.address import RedisAddress
from runtime.redis_connection.errors import RedisReplyError, again
from runtime.redis_connection.link import Link
from runtime.redis_connection.packing import Argument, packed, packed_many
from runtime.redis_connection.script import RedisScript
from runtime.settings import RedisSettings


class RedisConnection:
    """One socket, many requests in flight, replies matched in order. Replies are bytes, int, None or lists.

    Cancellation: a caller that is cancelled, or whose deadline passes, leaves its place in the queue, and its
    reply is dropped when it comes: nobody else notices.
    Units: a deadline is an instant of `clock`, which must run with the event loop's.
    """

    def __init__(
        self, address: RedisAddress, settings: RedisSettings, clock: Clock, lasting: bool = True
    ) -> None:
        self._address = address
        self._lasting = lasting
        self._settings = settings
        self._clock = clock
        self._link: Link | None = None
        self._failure: Error = Unavailable(f"not yet connected to Redis at {address.name}")
        self._tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._stay_connected(), name=f"redis {address.name}")

    @classmethod
    def open(cls, url: str, settings: RedisSettings, clock: Clock) -> RedisConnection:
        """Return a connection that is being made: calls wait for the first attempt, until their deadline.

        For a server that starts before its Redis does. Raises: InvalidRequest for a wrong URL.
        """
        return cls(_parsed(url), settings, clock)

    @classmethod
    async def connect(
        cls, url: str, settings: RedisSettings, clock: Clock, *, lasting: bool = True
    ) -> RedisConnection:
        """Return a connection that is up. One that isn't `lasting` doesn't come back when it is lost: for who
        must know that what the server has said since is still so, which a failover may change.

        Raises: InvalidRequest for a wrong URL; Unavailable where nobody answers or the server isn't ready;
        NotUsable where it refuses us.
        """
        connection = cls(_parsed(url), settings, clock, lasting)
        try:
            await connection._connected_link(NEVER)
        except BaseException:
            await connection.aclose()
            raise
        return connection

    @property
    def connected(self) -> bool:
        """Whether a call made now is sent; a server that is gone may take `max_unanswered_age_s` to show."""
        return self._link is not None and not self._link.lost.done()

    async def execute(self, *args: Argument, deadline: Deadline = NEVER) -> Any:
        """Return the reply to one command.

        Raises: DeadlineExceeded; Unavailable, at once while disconnected, or where the server loads;
        NotUsable where it refuses us or is full; RedisReplyError for any other error reply.
        Cost: one round trip, one future.
        """
        link = self._link or await self._connected_link(deadline)
        reply = await link.send(packed(args), 0, deadline)
        if type(reply) is RedisReplyError:
            raise reply.translated()
        return reply

    async def execute_many(
        self, commands: Sequence[Sequence[Argument]], deadline: Deadline = NEVER
    ) -> list[Any]:
        """Return the replies to `commands`, in order; error replies are RedisReplyErrors among them.

        Raises: DeadlineExceeded; Unavailable; InvalidRequest past `max_unanswered_bytes`. How many of the
        commands took effect is then unknown. Cost: one write, one round trip.
        """
        if not commands:
            return []
        link = self._link or await self._connected_link(deadline)
        replies: list[Any] = await link.send(packed_many(commands), len(commands), deadline)
        return replies

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

    async def aclose(self) -> None:
        """Close the socket for good; who still waits gets Unavailable."""
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        self._down(_CLOSED)

    async def _connected_link(self, deadline: Deadline) -> Link:
        """Return the link, once the first attempt to connect has ended. Raises: what that attempt met."""
        if not self._tried.done():
            remaining_s = deadline.remaining_s(self._clock.monotonic_s())
            await asyncio.wait([self._tried], timeout=None if deadline == NEVER else remaining_s)
            if not self._tried.done():
                raise DeadlineExceeded(f"not connected to Redis at {self._address.name} before the deadline")
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
        if not self._tried.done():
            self._tried.set_result(None)
        try:
            await asyncio.wait([link.lost])  # to await it would cancel it with this task
            self._down(link.lost.result())
        finally:
            await link.end(_CLOSED)

    def _down(self, failure: Error) -> None:
        self._link = None
        self._failure = failure
        if not self._tried.done():
            self._tried.set_result(None)

    async def _dial(self) -> Link:
        """Return a link that has answered PING. Raises: Unavailable; NotUsable."""
        link = Link(self._settings, self._clock)
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._open_socket(link)
                commands = self._address.handshake()
                self._check_handshake(await link.send(packed_many(commands), len(commands), NEVER))
        except (Error, OSError) as error:
            await link.end(Unavailable("connecting failed"))
            raise self._dial_failure(error) from error
        except BaseException:
            await link.end(_CLOSED)
            raise
        return link

    async def _open_socket(self, link: Link) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        if address.path:
            await loop.create_unix_connection(lambda: link, address.path)
        else:
            await loop.create_connection(lambda: link, address.host, address.port, ssl=address.tls)

    def _check_handshake(self, replies: list[Any]) -> None:
        """Raise what the server refused. That it takes no client name is no refusal: some proxies don't."""
        named = len(replies) - 2
        for place, reply in enumerate(replies):
            if type(reply) is RedisReplyError and place != named:
                failure = reply.translated()
                raise failure if isinstance(failure, Error) else NotUsable(f"refused: {reply}")

    def _dial_failure(self, error: Error | OSError) -> Error:
        name = self._address.name
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


def _parsed(url: str) -> RedisAddress:
    try:
        return RedisAddress.parse(url)
    except ValueError as error:
        raise InvalidRequest(str(error), field="redis.url") from error


_CLOSED = Unavailable("the connection to Redis is closed")
