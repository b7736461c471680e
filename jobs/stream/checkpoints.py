"""How far a partition is applied, for each view, and what has become of its events: one hash in Redis."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.errors import Corrupt

from jobs.stream.partitions import PartitionKeys
from jobs.stream.source import BEGINNING, LastRead
from runtime.redis_connection import RedisConnection

COUNTS = ("applied", "repeated", "late", "deleted", "covered", "invalid", "lost")
"""What becomes of events, each counted once per view; the last two once per event. `covered`: history has
it."""

Feed = tuple[int, int]
"""Who is fed: a view, by its id, and the generation of its rows."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`last` is how far all views were applied, `positions` how far each was; both of `last.incarnation`.

    `at_us` is when that was noted; `problem` why the partition is blocked, empty where it isn't.
    """

    last: LastRead
    positions: Mapping[Feed, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    at_us: int = 0
    worker: str = ""
    problem: str = ""


class Checkpoints:
    """Reads and writes one partition's checkpoint. Raises: what the connection does; Corrupt."""

    def __init__(self, connection: RedisConnection, keys: PartitionKeys) -> None:
        self._connection = connection
        self._key = keys.checkpoint

    async def read(self) -> Checkpoint | None:
        """Return the checkpoint; None where the partition was never read."""
        reply = await self._connection.execute("HGETALL", self._key)
        texts = {name.decode(): value.decode("utf-8", "replace") for name, value in _pairs(reply)}
        try:
            return _checkpoint(texts)
        except ValueError as error:
            raise Corrupt(f"the checkpoint {self._key} can't be read", key=self._key) from error

    async def write(
        self,
        last: LastRead,
        positions: Mapping[Feed, int],
        increments: Mapping[str, int],
        at_us: int,
        worker: str,
    ) -> None:
        """Note how far the partition is applied, and add to its counts; whatever was wrong is over."""
        facts: list[bytes | str | int] = [
            *("incarnation", last.incarnation, "position", last.position, "ordinal", last.ordinal),
            *("published_ms", last.published_ms, "at_us", at_us, "worker", worker, "problem", ""),
        ]
        for (view_id, generation), position in positions.items():
            facts += [f"view:{view_id}:{generation}", position]
        commands = [("HINCRBY", self._key, name, count) for name, count in increments.items() if count]
        replies = await self._connection.execute_many([("HSET", self._key, *facts), *commands])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply

    async def forget(self, feeds: Collection[Feed]) -> None:
        """Remove the positions of these: they are of an incarnation that is over."""
        if feeds:
            names = [f"view:{view_id}:{generation}" for view_id, generation in feeds]
            await self._connection.execute("HDEL", self._key, *names)

    async def block(self, problem: str) -> None:
        """Note why the partition is blocked."""
        await self._connection.execute("HSET", self._key, "problem", problem)


def _pairs(reply: Any) -> list[tuple[bytes, bytes]]:
    return list(zip(reply[::2], reply[1::2], strict=True))


def _checkpoint(texts: Mapping[str, str]) -> Checkpoint | None:
    counts = {name: int(texts[name]) for name in COUNTS if name in texts}
    if "incarnation" not in texts:
        if not texts:
            return None
        return Checkpoint(LastRead(""), counts=counts, problem=texts.get("problem", ""))
    positions: dict[Feed, int] = {}
    for name, text in texts.items():
        if name.startswith("view:"):
            view_id, generation = name.removeprefix("view:").split(":")
            positions[int(view_id), int(generation)] = int(text)
    last = LastRead(
        texts["incarnation"],
        int(texts.get("position", BEGINNING)),
        int(texts.get("ordinal", 0)),
        int(texts.get("published_ms", 0)),
    )
    return Checkpoint(
        last,
        positions,
        counts,
        int(texts.get("at_us", 0)),
        texts.get("worker", ""),
        texts.get("problem", ""),
    )
