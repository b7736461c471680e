"""`forebay refresh rollback`: a release with a view's previous generation, and with what belonged to it."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.errors import NotUsable

from feature_store.schema import feature_view
from jobs.generation_keys import GenerationKeys
from jobs.refused import Refused
from jobs.spaces import shared_with
from jobs.view_load import batch_of
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release
from runtime.redis_connection import RedisConnection

_HISTORY = 1000
"""Releases looked back on for a generation that was live."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """Takes one application's views back; what it needs of the world."""

    registry: Registry
    connection: RedisConnection
    who: str = ""

    async def run(self, view: str, *, same_space: bool) -> Release:
        """Publish the generation of `view` that was live before, and return the release.

        What shares its space goes back with it, to what was live together with that generation, unless
        `same_space`. A second rollback goes further back, never forward.

        Raises: NotFound for an unknown view; NotUsable for one that was never refreshed; Refused for one
        whose rows are written in place, and where no earlier generation is kept.
        """
        live = await self.registry.live()
        if live is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        plan = await self.registry.plan(live.plan)
        if batch_of(plan, view).publish != "swap":
            raise Refused(f"view {view} is written in place (publish: upsert): no earlier rows are kept")
        views, indexes = frozenset([view]), frozenset[str]()
        if not same_space:
            views, indexes = shared_with(plan.application, [view])
        earlier = await self._earlier(plan, live, view, views)

        def change(release: Release) -> Release:
            for name in views & earlier.views.keys() & release.views.keys():
                entry = earlier.views[name]
                release = release.with_view(name, entry.generation, entry.as_of_us, entry.batch)
            for name in indexes & earlier.indexes.keys() & release.indexes.keys():
                release = release.with_index(name, earlier.indexes[name].version)
            return release

        why = f"roll view {view} back to generation {earlier.views[view].generation}"
        return await self.registry.publish(change, who=self.who, why=why)

    async def _earlier(self, plan: Plan, live: Release, view: str, together: frozenset[str]) -> Release:
        """Return the newest release in which an older generation was live, and all of its rows are kept."""
        entry = live.views.get(view)
        if entry is None:
            raise NotUsable(f"view {view} was never refreshed")
        swapped = [
            name for name in together & live.views.keys() if feature_view(plan, name).publish == "swap"
        ]
        kept = {name: await self._kept(plan, name) for name in swapped}
        for release in await self.registry.releases(_HISTORY):
            before = release.views.get(view)
            if before is None or before.generation >= entry.generation:
                continue
            there = [name for name in swapped if name in release.views]
            if all(release.views[name].generation in kept[name] for name in there):
                return release
        raise Refused(f"view {view} has no earlier generation: only the one before the live one is kept")

    async def _kept(self, plan: Plan, name: str) -> set[int]:
        """Return the generations of a view whose rows are there."""
        view_id = feature_view(plan, name).view_id
        return set(await GenerationKeys(self.connection, plan.app, view_id).generations())
