"""Batches whose process was killed: the one that a refresh can go on with is resumed, what the others wrote
is removed, so that nothing of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feature_store.schema import feature_view
from feature_store.store import OnlineStore
from jobs.batch_hold import take_hold
from jobs.batch_writer import is_gone, new_writer
from jobs.generation_keys import GenerationKeys
from jobs.generations import remove_generation
from jobs.in_thread import in_thread
from jobs.index_leftovers import sweep_snapshots
from jobs.spaces import shared_with
from registry.batch import BatchRecord, Held
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection

_HISTORY = 200
"""Batches looked back on for those that never ended."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Takes over what killed refreshes of one application left; what it needs of the world."""

    registry: Registry
    connection: RedisConnection
    store: OnlineStore
    clock: Clock
    artifacts: Path

    async def take(
        self, plan: Plan, views: Sequence[str], fingerprint: str
    ) -> tuple[BatchRecord, Held] | None:
        """Return the killed batch of these views to go on with, now held; remove every other one's rows.

        One can be resumed where it read the same (`fingerprint`, which isn't empty), by the same plan, and
        nothing newer is live.
        """
        live = await self.registry.live()
        found: tuple[BatchRecord, Held] | None = None
        for record in await self.registry.batches(_HISTORY):
            held = await self._taken(record)
            if held is None:
                continue
            same = record.plan == plan.number and record.views == tuple(views)
            known = bool(fingerprint) and record.fingerprint == fingerprint
            if found is None and same and known and _is_newer(record, live, plan):
                found = record, held
            else:
                await self._remove(record, held, plan, live)
        return found

    async def _taken(self, record: BatchRecord) -> Held | None:
        """Return the hold on a batch that began, didn't end, and has nobody who runs it."""
        if record.status != "running" or record.kind != "refresh":
            return None
        holder = await self.registry.batch_holder(record.id)
        if holder and not is_gone(holder):
            return None
        return await take_hold(self.registry, record.id, holder, new_writer())

    async def _remove(self, record: BatchRecord, held: Held, plan: Plan, live: Release | None) -> None:
        error = "its process ended without a word; "
        removed = 0
        is_live = False
        known = plan.application.views
        for name, generation in record.generations.items():
            view = plan.application.views.get(name)
            if view is None or view.publish != "swap":
                continue
            entry = live.views.get(name) if live else None
            if entry is not None and entry.generation == generation:
                is_live = True  # it was killed after its publication, before it could say so
                continue
            stored = feature_view(plan, name)
            keys = GenerationKeys(self.connection, plan.app, stored.view_id)
            removed += await remove_generation(self.store, keys, stored, generation)
        if not is_live:
            _, shared = shared_with(plan.application, [name for name in record.views if name in known])
            await in_thread(sweep_snapshots, self.artifacts, plan.app, shared, record.id)
        error += "what it wrote is live" if is_live else f"{removed:,} rows of it were removed"
        ended = replace(
            record,
            status="done" if is_live else "failed",
            error=error,
            finished_at_us=self.clock.now_us(),
        )
        await self.registry.finish_batch(ended)
        await self.registry.hold_batch(record.id, held.holder, "")


def _is_newer(record: BatchRecord, live: Release | None, plan: Plan) -> bool:
    """Return whether no generation of the batch is live already, nor a newer one. What is written in place
    has nothing to go on with."""
    swapped = [name for name in record.views if plan.application.views[name].publish == "swap"]
    entries = live.views if live else {}
    return bool(swapped) and all(
        name not in entries or entries[name].generation < record.generations.get(name, 0) for name in swapped
    )
