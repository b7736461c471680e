"""How an application's registry lies in Redis: the names of its keys, and records read with suspicion.

    forebay:ids               hash: "entity:app:name" and "view:app:name" -> id, across all applications
    forebay:{app}:release     number of the live release        forebay:{app}:release:N   release N
    forebay:{app}:plan        number of the newest plan         forebay:{app}:plan:N      plan N
    forebay:{app}:batch       last batch number                 forebay:{app}:generation  hash: view -> last
    forebay:{app}:batches     hash: batch id -> record          forebay:{app}:batch_order its ids by number
    forebay:{app}:generations:ID  set: generations of the view with this id that may have rows
    forebay:{app}:deleted:ID:G  set: keys deleted while generation G of the view was being written; expires
    forebay:{app}:holder:ID   who runs batch ID; expires with its process
    forebay:{app}:version     hash: index -> last version   forebay:{app}:precomputed  hash: pipeline -> last
    forebay:{app}:watermarks  hash: how far streams have come in their views (watermarks.py)

The braces are a cluster's hash tag: what one script touches lies on one node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from forebay.errors import Corrupt

from runtime.redis_connection import RedisReplyError

IDS_KEY = "forebay:ids"
T = TypeVar("T")


class Keys:
    """The keys of one application."""

    def __init__(self, app: str) -> None:
        prefix = f"forebay:{{{app}}}:"
        self.release_pointer = prefix + "release"
        self.plan_pointer = prefix + "plan"
        self.batch_number = prefix + "batch"
        self.batch_records = prefix + "batches"
        self.batch_order = prefix + "batch_order"
        self.holder_prefix = prefix + "holder"
        self.generations = prefix + "generation"
        self.deleted_prefix = prefix + "deleted"
        self.index_versions = prefix + "version"
        self.precomputed_versions = prefix + "precomputed"
        self.watermarks = prefix + "watermarks"

    def stored_generations(self, of: int | str) -> str:
        """Return the key of the generations that may have rows: of a view, by its id."""
        return f"{self.generations}s:{of}"

    def deleted(self, view_id: int, generation: int) -> str:
        """Return the key of what was deleted while a generation was being written."""
        return f"{self.deleted_prefix}:{view_id}:{generation}"

    def release(self, number: int) -> str:
        """Return the key of a release's record."""
        return f"{self.release_pointer}:{number}"

    def holder(self, batch: str) -> str:
        """Return the key of who runs a batch."""
        return f"{self.holder_prefix}:{batch}"

    def plan(self, number: int) -> str:
        """Return the key of a plan's record."""
        return f"{self.plan_pointer}:{number}"


def read_number(reply: Any, key: str) -> int:
    """Return the number that a pointer holds; 0 where there is none.

    Raises: Corrupt.
    """
    if reply is None:
        return 0
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) < 19:
        return int(reply)
    raise Corrupt(f"registry key {key} holds no number", key=key)


def read_record(reply: Any, key: str, read: Callable[[bytes], T]) -> T:
    """Return the record that `read` makes of a reply.

    Raises: Corrupt, where it makes none.
    """
    if not isinstance(reply, bytes):
        raise Corrupt(f"registry key {key} holds no record", key=key)
    try:
        return read(reply)
    except ValueError as error:
        raise Corrupt(f"registry key {key} holds a record that can't be read", key=key) from error


def read_numbers(reply: Any, count: int, key: str) -> list[int]:
    """Return the `count` positive numbers that a script gave.

    Raises: Corrupt.
    """
    is_right = isinstance(reply, list) and len(reply) == count
    if not is_right or not all(isinstance(number, int) and number > 0 for number in reply):
        raise Corrupt(f"registry key {key} gives no number", key=key)
    return list(reply)


def read_members(reply: Any, key: str) -> list[int]:
    """Return the numbers that a set holds, ascending. Raises: Corrupt."""
    if not isinstance(reply, list | set):
        raise Corrupt(f"registry key {key} holds no set of numbers", key=key)
    return sorted(read_number(member, key) for member in reply)


def unusable(error: RedisReplyError, key: str) -> Corrupt:
    """Return what it means that Redis refuses to work on a key: it isn't what the registry keeps there."""
    return Corrupt(f"registry key {key} can't be used: {error}", key=key)
