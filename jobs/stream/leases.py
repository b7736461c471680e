"""Which worker reads which partition. For efficiency only: two that read one partition change nothing
twice."""

from __future__ import annotations

import math
from pathlib import Path

from jobs.batch_writer import is_gone
from jobs.stream.partitions import workers_key
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection, RedisScript

_RENEW = RedisScript((Path(__file__).parent / "lua" / "renew_lease.lua").read_text())


class Leases:
    """The leases of one worker. Raises: what the connection does."""

    def __init__(
        self, connection: RedisConnection, app: str, worker: str, lease_s: float, clock: Clock
    ) -> None:
        self._connection = connection
        self._app = app
        self._worker = worker
        self._lease_ms = math.ceil(lease_s * 1000)
        self._clock = clock

    async def join(self, stream: str) -> int:
        """Say that this worker is there; return how many there are of the stream's.

        One of this machine that was killed doesn't count any more, another one until its time has passed.
        """
        key, now_ms = workers_key(self._app, stream), self._clock.now_us() // 1000
        commands: list[tuple[bytes | str | int, ...]] = [
            ("ZADD", key, now_ms + self._lease_ms, self._worker),
            ("ZREMRANGEBYSCORE", key, "-inf", now_ms),
            ("PEXPIRE", key, 10 * self._lease_ms),
            ("ZRANGE", key, 0, -1),
        ]
        names: list[bytes] = (await self._connection.execute_many(commands))[-1]
        gone = [name for name in names if is_gone(name.decode())]
        if gone:
            await self._connection.execute("ZREM", key, *gone)
        return max(1, len(names) - len(gone))

    async def leave(self, stream: str) -> None:
        """Say that this worker is gone."""
        await self._connection.execute("ZREM", workers_key(self._app, stream), self._worker)

    async def take(self, key: str) -> bool:
        """Return whether the lease is this worker's now; it wasn't before. That of a worker of this machine
        which is gone is taken at once, any other when it has expired."""
        if await self._set(key):
            return True
        holder = (await self._connection.execute("GET", key) or b"").decode()
        if not is_gone(holder):
            return False
        await self._connection.eval_script(_RENEW, [key], [holder, 0])
        return await self._set(key)

    async def keep(self, key: str) -> bool:
        """Prolong a lease; return whether it is still this worker's."""
        return bool(await self._connection.eval_script(_RENEW, [key], [self._worker, self._lease_ms]))

    async def _set(self, key: str) -> bool:
        taken = await self._connection.execute("SET", key, self._worker, "NX", "PX", self._lease_ms)
        return taken is not None

    async def give_up(self, key: str) -> None:
        """Let go of a lease, if it is this worker's."""
        await self._connection.eval_script(_RENEW, [key], [self._worker, 0])
