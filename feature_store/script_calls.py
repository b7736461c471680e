"""A script over rows, as one call or, on a cluster, as one per slot; redis_store.py gives it the rows."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.deadline import Deadline

from runtime.redis_connection import RedisConnection, RedisScript


async def eval_rows(
    connection: RedisConnection,
    script: RedisScript,
    keys: Sequence[bytes],
    shared: Sequence[bytes],
    each: Sequence[bytes],
    deadline: Deadline,
    counts: Sequence[int] | None = None,
) -> bytes:
    """Return what the script says of each key, in their order: so many bytes as `counts` says, else one.

    The script's arguments are `shared` and then, where there are any, those of `each` key. Keys that are the
    same are taken in order. Raises: as RedisConnection.eval_script. Cost: one round trip per node.
    """
    if not connection.is_cluster:
        told: bytes = await connection.eval_script(script, keys, [*shared, *each], deadline)
        return told
    parts = connection.parted(keys)
    calls = [
        ([keys[place] for place in part], [*shared, *(each[place] for place in part if each)])
        for part in parts
    ]
    by_key = [b""] * len(keys)
    for part, reply in zip(parts, await connection.eval_each(script, calls, deadline), strict=True):
        start = 0
        for place in part:
            stop = start + (1 if counts is None else counts[place])
            by_key[place] = reply[start:stop]
            start = stop
    return b"".join(by_key)
