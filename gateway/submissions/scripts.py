"""The queue's Lua scripts, and what their failures mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forebay.deadline import NEVER, Deadline
from forebay.errors import Error, NotUsable, Unavailable

from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript
from runtime.redis_settings import RedisSettings

_BLOCK_S = 1.0
_LUA = Path(__file__).parent / "lua"
SUBMIT = RedisScript((_LUA / "submit.lua").read_text())
FINISH = RedisScript((_LUA / "finish.lua").read_text())
CLAIM = RedisScript((_LUA / "claim.lua").read_text())
REQUEUE = RedisScript((_LUA / "requeue.lua").read_text())
FORGET_WORKERS = RedisScript((_LUA / "forget_workers.lua").read_text())


async def run_script(
    connection: RedisConnection,
    script: RedisScript,
    keys: Sequence[str],
    args: Sequence[bytes | str | int],
    deadline: Deadline = NEVER,
) -> Any:
    """Return what a script returns. Raises: Unavailable, DeadlineExceeded, NotUsable. Cost: one round
    trip."""
    try:
        return await connection.eval_script(script, list(keys), list(args), deadline)
    except RedisReplyError as error:
        raise refused(error) from error


def refused(error: RedisReplyError) -> Error:
    """Return what an error reply means: a group that is gone comes back with the next worker that joins
    it."""
    if error.code == "NOGROUP" or "no such key" in str(error):
        return Unavailable("the queue of submitted predictions is empty and has no workers' group")
    return NotUsable(f"the queue of submitted predictions can't be used: {error}")


def longest_block_s(settings: RedisSettings) -> float:
    """Return how long a command may wait at the server: well under the silence at which we hang up."""
    return min(_BLOCK_S, settings.max_unanswered_age_s / 2)


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))
