"""Where a command belongs in a cluster: the slot of its key, and who has which slots."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forebay.errors import Unavailable

Argument = bytes | str | int

SLOT_COUNT = 16_384

_SERVERS_OWN = ("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "INFO", "LATENCY", "PING", "ROLE", "TIME")
_OF_ALL_KEYS = ("DBSIZE", "FLUSHALL", "KEYS", "RANDOMKEY", "SCAN", "SCRIPT", "SLOWLOG", "WAIT")
_NO_KEY = frozenset((*_SERVERS_OWN, *_OF_ALL_KEYS))
_KEY_IS_THIRD = frozenset(("MEMORY", "OBJECT", "XGROUP", "XINFO"))
_KEYS_ARE_COUNTED = frozenset(("EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"))
_KEYS_AFTER_STREAMS = frozenset(("XREAD", "XREADGROUP"))


def slot_of(key: bytes) -> int:
    """Return a key's slot: of what is between its first braces, if there is anything, else of all of it."""
    start = key.find(b"{") + 1
    if start:
        end = key.find(b"}", start)
        if end > start:
            return crc_hqx(key[start:end], 0) & 16_383
    return crc_hqx(key, 0) & 16_383


def command_key(command: Sequence[Argument]) -> bytes | None:
    """Return the first key of a command; None for one that is about no key. Its other keys must share the
    slot, as a cluster demands."""
    name = _text(command[0]).upper()
    if name in _NO_KEY:
        return None
    if name in _KEYS_ARE_COUNTED:
        return _bytes(command[3]) if int(command[2]) else None
    if name in _KEYS_AFTER_STREAMS:
        words = [_text(word).upper() if type(word) is not int else "" for word in command]
        return _bytes(command[words.index("STREAMS") + 1])
    place = 2 if name in _KEY_IS_THIRD else 1
    return _bytes(command[place]) if len(command) > place else None


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots `first` to `last` are at `primary`, copied to `replicas`; each a host and a port."""

    first: int
    last: int
    primary: tuple[str, int]
    replicas: tuple[tuple[str, int], ...]


def slot_ranges(reply: Any, asked: str) -> list[SlotRange]:
    """Return what CLUSTER SLOTS says; a node that doesn't know its own host is at `asked`.

    Raises: Unavailable where the reply isn't understood, or no slot is anybody's.
    """
    try:
        ranges = [
            SlotRange(first, last, _place(primary, asked), tuple(_place(one, asked) for one in replicas))
            for first, last, primary, *replicas in reply
        ]
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise Unavailable("the Redis cluster doesn't tell who has its slots") from error
    if not ranges:
        raise Unavailable("no node of the Redis cluster has slots")
    return ranges


def _place(node: Sequence[Any], asked: str) -> tuple[str, int]:
    host = node[0].decode() if node[0] else ""
    return (host if host not in ("", "?") else asked), int(node[1])


def _text(argument: Argument) -> str:
    return argument.decode("latin-1") if isinstance(argument, bytes) else str(argument)


def _bytes(argument: Argument) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()
