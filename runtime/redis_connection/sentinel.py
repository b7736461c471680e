"""Servers that sentinels watch: which is the primary now, and which are its replicas."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from forebay.deadline import Deadline
from forebay.errors import Error, NotUsable, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.address import RedisAddress
from runtime.redis_connection.errors import RedisReplyError
from runtime.redis_connection.node import Node
from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_settings import RedisSettings


class Sentinels:
    """Asks the sentinels, the one that answered last first."""

    def __init__(self, url: RedisUrl, settings: RedisSettings, clock: Clock) -> None:
        self._url = url
        self._settings = settings
        self._clock = clock
        self._places = list(url.places)

    async def primary(self) -> RedisAddress:
        """Return where the primary is. Raises: Unavailable where no sentinel says so; NotUsable."""
        reply = await self._ask("GET-MASTER-ADDR-BY-NAME")
        if not isinstance(reply, list) or len(reply) != 2:
            raise NotUsable(f"the sentinels don't know of servers named {self._url.primary!r}")
        return self._url.at(reply[0].decode(), int(reply[1]))

    async def replica(self) -> RedisAddress:
        """Return where one of the replicas is, at random. Raises: Unavailable where there is none."""
        fields = [_fields(one) for one in await self._ask("REPLICAS")]
        there = [one for one in fields if not _DOWN & set(one.get("flags", "").split(","))]
        if not there:
            raise Unavailable(f"{self._url.primary!r} has no replica that the sentinels call up")
        chosen = random.choice(there)
        return self._url.at(chosen["ip"], int(chosen["port"]))

    async def _ask(self, question: str) -> Any:
        failures: list[str] = []
        for place in tuple(self._places):
            try:
                reply = await self._ask_one(place, question)
            except Error as error:
                failures.append(error.message)
                continue
            except RedisReplyError as error:
                failures.append(f"sentinel at {place.name}: {error}")
                continue
            self._places.remove(place)
            self._places.insert(0, place)
            return reply
        raise Unavailable(f"no sentinel tells where {self._url.primary!r} is: {'; '.join(failures)}")

    async def _ask_one(self, place: RedisAddress, question: str) -> Any:
        node = Node.at(place, self._settings, self._clock, lasting=False)
        try:
            await node.wait()
            deadline = Deadline.after(self._settings.connect_timeout_s, self._clock.monotonic_s())
            return await node.execute(("SENTINEL", question, self._url.primary), deadline)
        finally:
            await node.aclose()


_DOWN = {"s_down", "o_down", "disconnected", "master_down"}


def _fields(reply: Sequence[bytes]) -> dict[str, str]:
    texts = [text.decode("utf-8", "replace") for text in reply]
    return dict(zip(texts[::2], texts[1::2], strict=False))


ROLE = (("ROLE",),)


def check_primary(replies: Sequence[Any]) -> None:
    """Raises: Unavailable where ROLE doesn't say primary: a sentinel may be behind the times."""
    if replies[0][0] != b"master":
        raise Unavailable("it is no primary now")
