"""The registry's records as Redis holds them: read, numbered and committed. How they lie there is in
`records.py`, what they mean in `registry.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forebay.deadline import Deadline
from forebay.errors import Conflict, Corrupt

from registry.batch import BatchRecord, Held
from registry.plan import Plan
from registry.records import (
    IDS_KEY,
    Keys,
    read_members,
    read_number,
    read_numbers,
    read_record,
    unusable,
)
from registry.release import Release
from runtime.redis_connection import RedisConnection, RedisReplyError, RedisScript

KEPT_RELEASES = 1000
KEPT_BATCHES = 1000
_DELETED_KEPT_S = 7 * 86_400
"""Longer than any refresh takes."""

_LUA = Path(__file__).parent / "lua"
_ALLOCATE_IDS = RedisScript((_LUA / "allocate_ids.lua").read_text())
_BEGIN_BATCH = RedisScript((_LUA / "begin_batch.lua").read_text())
_HOLD_BATCH = RedisScript((_LUA / "hold_batch.lua").read_text())
_COMMIT = RedisScript((_LUA / "commit.lua").read_text())
_RECORD_BATCH = RedisScript((_LUA / "record_batch.lua").read_text())


class Ledger:
    """One application's records. Every method raises Unavailable where Redis is, and Corrupt where what it
    holds can't be right. Cost: one round trip each, unless it says more.
    """

    def __init__(self, connection: RedisConnection, app: str) -> None:
        self._connection = connection
        self._app = app
        self._keys = Keys(app)

    async def live_number(self) -> int:
        """Return the number of the live release; 0 where nothing was applied."""
        key = self._keys.release_pointer
        return read_number(await self._execute(key, "GET", key), key)

    async def newest_plan_number(self) -> int:
        """Return the number of the newest plan; 0 where nothing was applied."""
        key = self._keys.plan_pointer
        return read_number(await self._execute(key, "GET", key), key)

    async def release(self, number: int) -> Release | None:
        """Return a release; None where there is none of this number, or no more."""
        [release] = await self.releases([number])
        return release

    async def releases(self, numbers: Sequence[int]) -> list[Release | None]:
        """Return releases by number; None for those there aren't."""
        if not numbers:
            return []
        keys = [self._keys.release(number) for number in numbers]
        replies = await self._execute(keys[0], "MGET", *keys)
        return [
            None if reply is None else self._release(reply, key, number)
            for reply, key, number in zip(replies, keys, numbers, strict=True)
        ]

    async def plan(self, number: int) -> Plan | None:
        """Return a plan; None where there is none of this number."""
        key = self._keys.plan(number)
        reply = await self._execute(key, "GET", key)
        if reply is None:
            return None
        plan = read_record(reply, key, Plan.from_json)
        self._check(plan.number == number and plan.app == self._app, key)
        return plan

    def _release(self, reply: Any, key: str, number: int) -> Release:
        release = read_record(reply, key, Release.from_json)
        self._check(release.number == number and release.app == self._app, key)
        return release

    def _check(self, is_right: bool, key: str) -> None:
        if not is_right:
            raise Corrupt(f"registry key {key} holds the record of another number or application", key=key)

    async def commit(self, release: Release, plan: Plan | None, held: Held | None = None) -> bool:
        """Make `release` live, and store `plan` if it is new; return False if somebody else was first.

        The release before it must be the live one, and the plan before a new one the newest.
        Raises: Conflict where the batch `held` isn't held by its holder any more.
        """
        keys = self._keys
        plan_number = 0 if plan is None else plan.number
        done = await self._eval(
            _COMMIT,
            [
                keys.release_pointer,
                keys.release(release.number),
                keys.release(release.number - KEPT_RELEASES),
                keys.plan_pointer,
                keys.plan(plan_number),
                keys.holder("" if held is None else held.batch),
            ],
            [
                release.parent,
                release.number,
                release.to_json(),
                plan_number - 1,
                plan_number,
                "" if plan is None else plan.to_json(),
                "" if held is None else held.holder,
            ],
        )
        if held is not None and done == -1:
            raise Conflict(f"batch {held.batch} was taken over: nothing of it is published here")
        return bool(done)

    async def hold_batch(self, batch: str, expected: str, holder: str, for_ms: int) -> bool:
        """Make `holder` the one who runs the batch, for so long, if `expected` is; "" for nobody."""
        key = self._keys.holder(batch)
        return bool(await self._eval(_HOLD_BATCH, [key], [expected, holder, for_ms]))

    async def holder(self, batch: str) -> str:
        """Return who runs the batch; "" for nobody."""
        key = self._keys.holder(batch)
        reply = await self._execute(key, "GET", key)
        return "" if reply is None else str(reply, "utf-8", "replace")

    async def allocate_ids(self, kind: str, names: Sequence[str]) -> dict[str, int]:
        """Return the id of each name, which it keeps for good; no other application has it."""
        full = [f"{kind}:{self._app}:{name}" for name in names]
        ids = await self._eval(_ALLOCATE_IDS, [IDS_KEY], full) if full else []
        return dict(zip(names, read_numbers(ids, len(names), IDS_KEY), strict=True))

    async def begin_batch(self, views: Sequence[str]) -> tuple[int, list[int]]:
        """Return a batch number above every earlier one, and a generation for each view that it never had."""
        keys = [self._keys.batch_number, self._keys.generations]
        reply = await self._eval(_BEGIN_BATCH, keys, list(views))
        number, *generations = read_numbers(reply, 1 + len(views), keys[0])
        return number, generations

    async def next_index_version(self, index: str) -> int:
        """Return a version that the index never had."""
        key = self._keys.index_versions
        [version] = read_numbers([await self._execute(key, "HINCRBY", key, index, 1)], 1, key)
        return version

    async def next_precomputed_version(self, pipeline: str) -> int:
        """Return a version that the pipeline's precomputed answers never had."""
        key = self._keys.precomputed_versions
        [version] = read_numbers([await self._execute(key, "HINCRBY", key, pipeline, 1)], 1, key)
        return version

    async def record_batch(self, record: BatchRecord) -> None:
        """Store a batch's record in place of an earlier one; the oldest beyond the limit are dropped."""
        await self._eval(
            _RECORD_BATCH,
            [self._keys.batch_records, self._keys.batch_order],
            [record.id, record.number, record.to_json(), KEPT_BATCHES],
        )

    async def batches(self, limit: int) -> list[BatchRecord]:
        """Return the newest batches' records, newest first. Cost: two round trips."""
        key = self._keys.batch_records
        ids = await self._execute(key, "ZREVRANGE", self._keys.batch_order, 0, limit - 1)
        replies = await self._execute(key, "HMGET", key, *ids) if ids else []
        return [read_record(reply, key, BatchRecord.from_json) for reply in replies if reply is not None]

    async def batch_records(self, ids: Sequence[str]) -> list[BatchRecord]:
        """Return the records of these batches; those that were dropped are left out."""
        key = self._keys.batch_records
        replies = await self._execute(key, "HMGET", key, *ids) if ids else []
        return [read_record(reply, key, BatchRecord.from_json) for reply in replies if reply is not None]

    async def stored_generations(self, view_ids: Sequence[int], deadline: Deadline) -> list[list[int]]:
        """Return the generations of each view that may have rows, ascending."""
        keys = [self._keys.stored_generations(view_id) for view_id in view_ids]
        replies = await self._connection.execute_many([["SMEMBERS", key] for key in keys], deadline)
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, RedisReplyError):
                raise unusable(reply, key) from reply
        return [read_members(reply, key) for key, reply in zip(keys, replies, strict=True)]

    async def note_deleted(
        self, view_id: int, generations: Sequence[int], texts: Sequence[str], deadline: Deadline
    ) -> None:
        """Note that entities were deleted while these generations may be being written."""
        keys = [self._keys.deleted(view_id, generation) for generation in generations]
        commands: list[list[bytes | str | int]] = [["SADD", key, *texts] for key in keys]
        commands += [["EXPIRE", key, _DELETED_KEPT_S] for key in keys]
        for reply in await self._connection.execute_many(commands, deadline):
            if isinstance(reply, RedisReplyError):
                raise unusable(reply, keys[0]) from reply

    async def deleted(self, view_id: int, generation: int) -> list[str]:
        """Return what was noted as deleted while the generation was being written."""
        key = self._keys.deleted(view_id, generation)
        return [member.decode() for member in await self._execute(key, "SMEMBERS", key)]

    async def begin_generations(self, generations: Mapping[int, int]) -> None:
        """Note that generations, each of the view with that id, may have rows from now on."""
        for view_id, generation in generations.items():
            key = self._keys.stored_generations(view_id)
            await self._execute(key, "SADD", key, generation)

    async def _execute(self, key: str, *command: bytes | str | int) -> Any:
        try:
            return await self._connection.execute(*command)
        except RedisReplyError as error:
            raise unusable(error, key) from error

    async def _eval(self, script: RedisScript, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
        try:
            return await self._connection.eval_script(script, list(keys), args)
        except RedisReplyError as error:
            raise unusable(error, keys[0]) from error
