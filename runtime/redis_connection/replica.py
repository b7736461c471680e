"""A replica that rows are read from, as long as it keeps up with its primary."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from forebay.deadline import Deadline
from forebay.errors import Error, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.errors import RedisReplyError
from runtime.redis_connection.node import Find, Node
from runtime.redis_settings import RedisSettings

_LOOK_S: Final = 1.0
"""How often a replica is asked whether it still hears of its primary."""
_INFO = (("INFO", "replication"),)


class Replica:
    """A node to read from. It isn't `usable` while it is out of reach, loads, or hasn't heard of its primary
    for over `replica_max_silence_s`: what it would answer then may be of any age.
    """

    def __init__(
        self, find: Find, name: str, settings: RedisSettings, clock: Clock, *, in_cluster: bool = False
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._heard = False
        setup: tuple[tuple[str, ...], ...] = (("READONLY",), *_INFO) if in_cluster else _INFO
        self.node = Node(find, name, settings, clock, setup=setup, check=self._check)
        self._watch = asyncio.create_task(self._look(), name=f"redis replica {name}")

    @property
    def usable(self) -> bool:
        """Whether rows may be read here now."""
        return self._heard and self.node.connected

    async def aclose(self) -> None:
        """Close the socket for good."""
        self._watch.cancel()
        await asyncio.wait([self._watch])  # to await it would swallow a cancellation of our own
        await self.node.aclose()

    def _check(self, replies: Sequence[Any]) -> None:
        """Raises: Unavailable where the server isn't a replica that keeps up."""
        reason = self._reason(replies[-1])
        self._heard = not reason
        if reason:
            raise Unavailable(reason)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self.node.connected:
                continue
            try:
                deadline = Deadline.after(_LOOK_S, self._clock.monotonic_s())
                self._heard = not self._reason(await self.node.execute(_INFO[0], deadline))
            except (Error, RedisReplyError):
                self._heard = False

    def _reason(self, info: bytes) -> str:
        """Return why the server isn't to be read from; empty where it may be."""
        lines = info.decode().splitlines()
        said = dict(line.split(":", 1) for line in lines if ":" in line)
        if said.get("role") != "slave":
            return "it is no replica now"
        if said.get("master_link_status") != "up":
            return "this replica has lost its primary"
        if int(said.get("master_last_io_seconds_ago", -1)) > self._settings.replica_max_silence_s:
            return "this replica hasn't heard of its primary for too long"
        return ""
