"""What becomes of the versions of a pipeline's precomputed answers: one that failed is removed at once, the
one before the live one stays whole for a rollback, all others are swept.

A server that still serves the release before finds nothing under a version that is gone, and computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.errors import NotFound, NotUsable

from feature_store.store import OnlineStore
from gateway.precomputed.keys import AnswerKeys
from jobs.generation_keys import GenerationKeys
from registry.plan import Plan
from registry.precomputed import PrecomputedRelease
from registry.registry import Registry
from registry.release import Release
from runtime.redis_connection import RedisConnection

_HISTORY = 1000
"""Releases looked back on for the version that was live before."""


@dataclass(frozen=True, slots=True)
class PrecomputedVersions:
    """The stored versions of one application's precomputed answers; what it needs of the world."""

    registry: Registry
    connection: RedisConnection
    store: OnlineStore
    who: str = ""

    def lists(self, pipeline: str) -> GenerationKeys:
        """Return the lists of the keys of each version."""
        return GenerationKeys(self.connection, self.registry.app, f"precomputed/{pipeline}")

    async def remove(self, pipeline: str, version: int) -> int:
        """Remove a version's answers and then their list; return how many answers there were."""
        lists, keys = self.lists(pipeline), AnswerKeys(self.registry.app, pipeline, version, ())
        removed = 0
        async for texts in lists.chunks(version):
            removed += await self.store.delete_many(keys.of(texts))
        await lists.forget(version)
        return removed

    async def sweep(self, pipeline: str) -> list[int]:
        """Remove every version older than the live one but the one that was live before it; return which."""
        releases = await self.registry.releases(_HISTORY)
        live = releases[0].precomputed.get(pipeline)
        if live is None:
            return []
        stored = await self.lists(pipeline).generations()
        earlier = _earlier(releases, pipeline, stored, live.version)
        kept = None if earlier is None else earlier.version
        swept = [version for version in stored if version < live.version and version != kept]
        for version in swept:
            await self.remove(pipeline, version)
        return swept

    async def rollback(self, pipeline: str) -> Release:
        """Publish the answers that were live before; return the release. Raises: NotFound; NotUsable."""
        await self._known(pipeline)
        releases = await self.registry.releases(_HISTORY)
        live = releases[0].precomputed.get(pipeline)
        stored = await self.lists(pipeline).generations()
        below = live.version if live is not None else max(stored, default=0) + 1
        earlier = _earlier(releases, pipeline, stored, below)
        if earlier is None:
            raise NotUsable(f"pipeline {pipeline} has no earlier precomputed answers to go back to")

        def change(release: Release) -> Release:
            return release.with_precomputed(pipeline, earlier)

        why = f"roll what is precomputed for {pipeline} back to version {earlier.version}"
        return await self.registry.publish(change, who=self.who, why=why)

    async def drop(self, pipeline: str) -> tuple[Release, int]:
        """Publish a release without these answers, and remove every version; return it and how many there
        were. Raises: NotFound, for a pipeline that the plan doesn't have and nothing is stored of.
        """
        stored = await self.lists(pipeline).generations()
        if not stored:
            await self._known(pipeline)

        def change(release: Release) -> Release:
            return release.without_precomputed(pipeline)

        why = f"drop what is precomputed for {pipeline}"
        release = await self.registry.publish(change, who=self.who, why=why)
        return release, sum([await self.remove(pipeline, version) for version in stored])

    async def _known(self, pipeline: str) -> Plan:
        plan = await self.registry.live_plan()
        if plan is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        check_known(plan, pipeline)
        return plan


def check_known(plan: Plan, pipeline: str) -> None:
    """Raises: NotFound for a pipeline that the plan doesn't have."""
    if pipeline not in plan.application.pipelines:
        known = ", ".join(plan.application.pipelines) or "none"
        raise NotFound(f"{plan.app} has no pipeline {pipeline!r}; its pipelines: {known}", field="pipeline")


def _earlier(
    releases: Sequence[Release], pipeline: str, stored: Sequence[int], below: int
) -> PrecomputedRelease | None:
    """Return the newest entry below a version that was live and is stored still."""
    entries = [release.precomputed.get(pipeline) for release in releases]
    there = [entry for entry in entries if entry is not None and entry.version < below]
    return next((entry for entry in there if entry.version in stored), None)
