"""How far streams have come in their views: a watermark per view, generation and partition, written by the
stream's workers and read by servers with each look at the registry. All of an application's lie in one hash:

    VIEW_ID:GENERATION              how many partitions the stream has
    VIEW_ID:GENERATION:PARTITION    "event time, us  heartbeat, us": all events up to that time are applied
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from forebay.deadline import NEVER, Deadline
from forebay.errors import Corrupt

from registry.records import Keys, unusable
from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript

_ADVANCE = RedisScript((Path(__file__).parent / "lua" / "advance_watermarks.lua").read_text())
_FIELD = re.compile(rb"(\d{1,18}):(\d{1,18})(?::(\d{1,10}))?")
_MARK = re.compile(rb"(-?\d{1,16}) (-?\d{1,16})")
_COUNT = re.compile(rb"\d{1,10}")


class ViewGeneration(NamedTuple):
    """The rows that a watermark is about."""

    view_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class Advance:
    """One partition's watermark in one view: every event of the partition with an event time up to
    `event_time_us` is in the view's rows, or refused for good. `partitions` is how many the stream has.
    """

    rows: ViewGeneration
    partitions: int
    partition: int
    event_time_us: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far one partition has come, and when its worker said so, by its own clock."""

    event_time_us: int
    heartbeat_us: int


@dataclass(frozen=True, slots=True)
class ViewWatermarks:
    """The watermarks of one view's rows, by partition."""

    partitions: int = 0
    marks: Mapping[int, Watermark] = field(default_factory=dict)

    @property
    def lowest_us(self) -> int | None:
        """The event time up to which all partitions are complete; None while one hasn't said."""
        told = [mark.event_time_us for number, mark in self.marks.items() if number < self.partitions]
        return min(told) if told and len(told) == self.partitions else None


class Watermarks:
    """The watermarks of one application.

    Raises, everywhere: Unavailable where Redis is, DeadlineExceeded; Corrupt where what is stored can't be
    right. Cost: one round trip each.
    """

    def __init__(self, connection: RedisConnection, app: str) -> None:
        self._connection = connection
        self._key = Keys(app).watermarks

    async def advance(
        self, advances: Sequence[Advance], heartbeat_us: int, deadline: Deadline = NEVER
    ) -> None:
        """Store watermarks, of any views and partitions, where they are above what is stored; and that their
        worker lives. Nothing goes back: who reads from further back again has applied what came after.
        """
        if not advances:
            return
        args: list[bytes | str | int] = [heartbeat_us]
        for one in advances:
            args += [_name(one.rows), one.partitions, f"{one.partition}:{one.event_time_us}"]
        try:
            await self._connection.eval_script(_ADVANCE, [self._key], args, deadline)
        except RedisReplyError as error:
            raise unusable(error, self._key) from error

    async def read(self, deadline: Deadline = NEVER) -> dict[ViewGeneration, ViewWatermarks]:
        """Return the watermarks of every view's rows that have any."""
        reply = await self._execute("HGETALL", self._key, deadline=deadline)
        if not isinstance(reply, list | dict):
            raise Corrupt(f"registry key {self._key} holds no watermarks", key=self._key)
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return self._by_view(pairs)

    async def lowest(self, deadline: Deadline = NEVER) -> dict[ViewGeneration, int]:
        """Return, of the rows whose partitions have all said how far they are, the lowest watermark, us."""
        found = {rows: marks.lowest_us for rows, marks in (await self.read(deadline)).items()}
        return {rows: lowest_us for rows, lowest_us in found.items() if lowest_us is not None}

    async def forget(self, rows: ViewGeneration, deadline: Deadline = NEVER) -> None:
        """Remove the watermarks of rows that nobody reads any more. Cost: two round trips."""
        marks = (await self.read(deadline)).get(rows)
        if marks is not None:
            name = _name(rows)
            fields = [name, *(f"{name}:{partition}" for partition in marks.marks)]
            await self._execute("HDEL", self._key, *fields, deadline=deadline)

    def _by_view(self, pairs: Iterable[tuple[bytes, bytes]]) -> dict[ViewGeneration, ViewWatermarks]:
        counts: dict[ViewGeneration, int] = {}
        marks: dict[ViewGeneration, dict[int, Watermark]] = {}
        for name, value in pairs:
            place = _FIELD.fullmatch(name)
            mark = _MARK.fullmatch(value)
            if place is None or (_COUNT.fullmatch(value) if place[3] is None else mark) is None:
                raise Corrupt(f"registry key {self._key} holds a watermark that can't be read", key=self._key)
            rows = ViewGeneration(int(place[1]), int(place[2]))
            if mark is None:
                counts[rows] = int(value)
            else:
                marks.setdefault(rows, {})[int(place[3])] = Watermark(int(mark[1]), int(mark[2]))
        return {rows: ViewWatermarks(counts.get(rows, 0), marks.get(rows, {})) for rows in counts | marks}

    async def _execute(self, *command: str, deadline: Deadline) -> Any:
        try:
            return await self._connection.execute(*command, deadline=deadline)
        except RedisReplyError as error:
            raise unusable(error, self._key) from error


def _name(rows: ViewGeneration) -> str:
    return f"{rows.view_id}:{rows.generation}"
