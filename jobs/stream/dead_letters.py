"""Events that are no good, kept with the reason: one Redis Stream per partition. A letter's first fields are
ours, the others the event's own, byte for byte, so that it can be read with redis-cli and put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.stream.events import Invalid
from jobs.stream.partitions import PartitionKeys
from jobs.stream.source import EventFormat
from runtime.redis_connection import RedisConnection, RedisScript

_BURY = RedisScript((Path(__file__).parent / "lua" / "bury_letters.lua").read_text())
_OWN_PAIRS = 4
_MOST_AT_ONCE = 100
_MOST_STRINGS = 2_000
"""Of one letter: Lua takes so many and more in a call."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter. `event` are the event's strings as they came, names and values in turn, or its one JSON
    text; cut if `is_cut`."""

    id: str
    partition: int
    position: int
    reason: str
    at_us: int
    is_cut: bool
    event: tuple[bytes, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the letter for programs."""
        texts = [part.decode("utf-8", "backslashreplace") for part in self.event]
        event: Any = texts[0] if len(texts) == 1 else [list(pair) for pair in _paired(texts)]
        return {
            "letter": f"{self.partition}/{self.id}",
            "partition": self.partition,
            "position": self.position,
            "reason": self.reason,
            "at_us": self.at_us,
            "cut": self.is_cut,
            "event": event,
        }


class DeadLetters:
    """The dead letters of one partition. Raises: what the connection does."""

    def __init__(self, connection: RedisConnection, keys: PartitionKeys) -> None:
        self._connection = connection
        self._keys = keys

    async def bury(
        self,
        incarnation: str,
        invalid: Sequence[Invalid],
        layout: EventFormat,
        at_us: int,
        max_bytes: int,
        kept: int,
    ) -> int:
        """Keep these, which ascend by position, unless they are kept already; return how many weren't."""
        added = 0
        for start in range(0, len(invalid), _MOST_AT_ONCE):
            args: list[bytes | str | int] = [incarnation, kept]
            for one in invalid[start : start + _MOST_AT_ONCE]:
                strings = _letter(one, layout, at_us, max_bytes)
                args += [b"%019d" % one.position, len(strings), *strings]
            keys = [self._keys.letters, self._keys.checkpoint, self._keys.refused]
            added += await self._connection.eval_script(_BURY, keys, args)
        return added

    async def refused(self, incarnation: str) -> NDArray[np.int64]:
        """Return the positions of the letters of a stream's incarnation, ascending, (n,): of those that were
        put back too, for it is the copy that counts. What is no event once stays none when it is read again.
        """
        of, positions = await self._connection.execute_many(
            [("HGET", self._keys.checkpoint, "letters_of"), ("ZRANGE", self._keys.refused, 0, -1)]
        )
        for reply in (of, positions):
            if isinstance(reply, Exception):
                raise reply
        return np.array([int(one) for one in positions] if of == incarnation.encode() else [], np.int64)

    async def count(self) -> int:
        """Return how many are kept."""
        return int(await self._connection.execute("XLEN", self._keys.letters))

    async def newest(self, limit: int) -> list[DeadLetter]:
        """Return the newest, newest first."""
        found = await self._connection.execute("XREVRANGE", self._keys.letters, "+", "-", "COUNT", limit)
        return [self._read(entry) for entry in found]

    async def find(self, letter: str) -> DeadLetter | None:
        """Return a letter by its id; None where there is none."""
        found = await self._connection.execute("XRANGE", self._keys.letters, letter, letter)
        return self._read(found[0]) if found else None

    async def remove(self, letter: str) -> None:
        """Forget a letter."""
        await self._connection.execute("XDEL", self._keys.letters, letter)

    def _read(self, entry: Any) -> DeadLetter:
        name, strings = entry
        own, event = strings[: 2 * _OWN_PAIRS], strings[2 * _OWN_PAIRS :]
        facts = dict(zip(own[::2], own[1::2], strict=True))
        if event[:1] == [_JSON]:
            event = event[1:]
        return DeadLetter(
            name.decode(),
            self._keys.partition,
            int(facts.get(b"position", -1)),
            facts.get(b"reason", b"").decode("utf-8", "replace"),
            int(facts.get(b"at_us", 0)),
            facts.get(b"cut") == b"1",
            tuple(event),
        )


_JSON = b"event"
"""The one field of a letter whose event was a JSON text."""


def _letter(invalid: Invalid, layout: EventFormat, at_us: int, max_bytes: int) -> list[bytes]:
    strings = list(invalid.payload) if layout == "fields" else [_JSON, invalid.payload or b""]
    is_cut = sum(map(len, strings)) > max_bytes or len(strings) > _MOST_STRINGS
    if is_cut:
        strings = _cut(strings[:_MOST_STRINGS], max_bytes)
    own = (b"position", invalid.position, b"reason", invalid.reason, b"at_us", at_us, b"cut", int(is_cut))
    return [part if isinstance(part, bytes) else str(part).encode() for part in own] + strings


def _cut(strings: Sequence[bytes], max_bytes: int) -> list[bytes]:
    """Return the strings' beginnings, so many bytes in all; still names and values in turn."""
    kept: list[bytes] = []
    for string in strings:
        kept.append(string[:max_bytes])
        max_bytes -= len(kept[-1])
        if not max_bytes and len(kept) % 2 == 0:
            break
    return kept


def _paired(texts: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(texts[::2], texts[1::2], strict=False))
