"""Whether the store has room for what a job is about to write."""

from __future__ import annotations

from jobs.refused import Refused
from runtime.redis_connection import RedisConnection


async def check_headroom(connection: RedisConnection, needed_bytes: int, what: str) -> None:
    """Raises: Refused where the server has a limit (`maxmemory`) and `needed_bytes` more exceed it.

    Of a cluster all nodes count together, for keys spread evenly; one without a limit has room for all. A
    server that doesn't say is taken at its word. Cost: one round trip per node.
    """
    replies = await connection.execute_everywhere("INFO", "memory")
    nodes = [
        dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line) for text in replies
    ]
    limits = [int(said.get("maxmemory", 0)) for said in nodes]
    limit, used = min(limits) * len(limits), sum(int(said.get("used_memory", 0)) for said in nodes)
    if limit and used + needed_bytes > limit:
        raise Refused(
            f"{what} need about {_mib(needed_bytes)}, and the store has {_mib(max(0, limit - used))} left of "
            f"its {_mib(limit)} (maxmemory): make fewer, or give it more"
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.1f} MiB"
