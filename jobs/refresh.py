"""`forebay refresh run`: loads views from their batch sources into new generations, rebuilds the indexes that
share a space with them, and publishes all of it in one release. If anything fails, what is live stays live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import Conflict, Error, InvalidRequest, NotUsable

from feature_store.store import OnlineStore
from jobs.batch_log import BatchLog
from jobs.fallback_candidates import fallback_candidates
from jobs.generation_keys import GenerationKeys
from jobs.generations import remove_generation, sweep_generations
from jobs.in_thread import in_thread
from jobs.index_build import IndexBuilder, check_bar
from jobs.precomputed_state import precomputed_remarks
from jobs.progress import Progress
from jobs.refused import Refused
from jobs.sources import Sources
from jobs.spaces import check_together, shared_with
from jobs.view_load import ViewLoad, ViewOutcome, batch_of, batch_views, counted, prepared
from jobs.view_query import ViewQuery
from registry.batch import Batch
from registry.plan import Plan
from registry.registry import Registry
from registry.release import FallbackRelease, Release, ViewRelease
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection

_HISTORY = 50
"""Releases looked back on for the generations that may be swept."""


@dataclass(frozen=True, slots=True)
class RefreshOptions:
    """`allow_empty`: publish a view without rows. `same_space`: an embedding's basis did not change, so what
    shares its space may stay as it is. `who` is noted in the release."""

    allow_empty: bool = False
    same_space: bool = False
    who: str = ""


@dataclass(frozen=True, slots=True)
class RefreshOutcome:
    """A refresh that is live: its batch, its release, its views, the index versions built with them, and what
    it leaves behind: precomputed answers that are older than it, or missing."""

    batch: str
    release: int
    views: tuple[ViewOutcome, ...]
    indexes: dict[str, str]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Work:
    """A refresh under way: what it loads, and what else it makes live."""

    plan: Plan
    batch: Batch
    loads: Sequence[ViewLoad]
    fallbacks: Mapping[str, FallbackRelease]
    started_us: int


@dataclass(frozen=True, slots=True)
class Refresh:
    """Refreshes one application; what it needs of the world."""

    registry: Registry
    connection: RedisConnection
    store: OnlineStore
    builder: IndexBuilder
    clock: Clock
    progress: Progress

    async def run(self, views: Sequence[str], options: RefreshOptions) -> RefreshOutcome:
        """Load `views` (all with a batch source when empty), publish them, return what was done.

        Raises: NotUsable where nothing is applied, or the data doesn't fit (every column that is wrong, of
        every view); Refused by a rule: an empty view, a space taken apart, an index below its bar; NotFound,
        InvalidRequest for a wrong name; Conflict where a newer refresh was published meanwhile.
        Cost: two passes over each query; memory for three chunks of rows.
        """
        plan = await self.registry.live_plan()
        if plan is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        names = list(dict.fromkeys(views)) or batch_views(plan)
        if not names:
            raise InvalidRequest(f"no view of {plan.app} has a batch source")
        origins = [batch_of(plan, name) for name in names]
        if not options.same_space:
            check_together(plan.application, names)
        with Sources(plan.application.sources, Path(plan.root)) as sources:
            started_us = self.clock.now_us()  # before anything is read: until here the data is complete
            queries = await in_thread(prepared, plan, names, sources)
            fallbacks = await in_thread(fallback_candidates, plan.application, sources, started_us)
            loads = [await self._counted(query, options) for query in queries]
            batch = await self.registry.begin_batch(*names)
            log = BatchLog(self.registry, self.clock)
            source = ", ".join(origin.source or "SQL" for origin in origins)
            await log.begin(batch, "refresh", started_us, views=names, source=source)
            work = _Work(plan, batch, loads, fallbacks, started_us)
            return await self._logged(work, options, log)

    async def _counted(self, query: ViewQuery, options: RefreshOptions) -> ViewLoad:
        name = query.view.name
        self.progress(f"view {name}", "count", 0, 0)
        load = await counted(query)
        if not load.counts.loadable and not options.allow_empty:
            without = f" ({load.counts.keyless:,} without a key)" if load.counts.keyless else ""
            raise Refused(
                f"the batch of view {name} returns no rows{without}: what is live stays; "
                "pass --allow-empty if there really are none"
            )
        return load

    async def _logged(self, work: _Work, options: RefreshOptions, log: BatchLog) -> RefreshOutcome:
        """Run the batch and complete its record, however it ends."""
        outcomes: list[ViewOutcome] = []
        try:
            for load in work.loads:
                keys = self._keys(work.plan, load)
                outcome = await load.run(self.store, keys, work.batch, work.started_us, self.progress)
                log.note(outcome.checks(), rows=outcome.written.total, event_times_us=outcome.event_times_us)
                outcomes.append(outcome)
            indexes = {} if options.same_space else await self._rebuilt(work)
            release = await self._published(work, indexes, options)
        except BaseException as error:
            await self._discard(work)
            await log.failed(error)
            raise
        await log.done(sorted(indexes))
        await self._sweep(work)
        remarks = precomputed_remarks(work.plan.application, release, [load.view.name for load in work.loads])
        return RefreshOutcome(work.batch.id, release.number, tuple(outcomes), indexes, tuple(remarks))

    async def _rebuilt(self, work: _Work) -> dict[str, str]:
        """Build a new version of every live index whose space these views have; return the versions."""
        live = await self.registry.live()
        names = [load.view.name for load in work.loads]
        _, shared = shared_with(work.plan.application, names)
        versions: dict[str, str] = {}
        for index in sorted(shared & frozenset(live.indexes if live else ())):
            view = work.plan.application.indexes[index].vector_view
            entry = ViewRelease(work.batch.generations[view], work.started_us, work.batch.id)
            version = await self.registry.next_index_version(index)

            def progress(stage: str, done: int, total: int, subject: str = f"index {index}") -> None:
                self.progress(subject, stage, done, total)

            check_bar(
                work.plan.application, await self.builder.build(work.plan, index, entry, version, progress)
            )
            versions[index] = version
        return versions

    async def _published(self, work: _Work, indexes: dict[str, str], options: RefreshOptions) -> Release:
        batch, loads = work.batch, work.loads

        def change(release: Release) -> Release:
            for load in loads:
                name, generation = load.view.name, batch.generations[load.view.name]
                live = release.views.get(name)
                if live is not None and live.generation > generation:
                    raise Conflict(
                        f"a newer refresh of view {name} was published meanwhile; this one is dropped"
                    )
                as_of_us = work.started_us if load.view.publish == "swap" else 0
                release = release.with_view(name, generation, as_of_us, batch.id)
            for index, version in indexes.items():
                release = release.with_index(index, version)
            return release.with_fallbacks(work.fallbacks)

        why = f"refresh {batch.id} of {', '.join(load.view.name for load in loads)}"
        return await self.registry.publish(change, who=options.who, why=why)

    async def _discard(self, work: _Work) -> None:
        """Remove what a failed batch wrote beside the live rows.

        Not where it is live after all: a publication whose answer was lost may have been made. Where Redis
        can't be reached the rows stay, and a later refresh sweeps them.
        """
        try:
            live = await self.registry.live()
            for load in work.loads:
                entry = live.views.get(load.view.name) if live else None
                generation = work.batch.generations[load.view.name]
                if load.view.publish == "swap" and (entry is None or entry.generation != generation):
                    await remove_generation(self.store, self._keys(work.plan, load), load.view, generation)
        except Error as error:
            self.progress("cleanup", f"left for the next refresh: {error.message}", 0, 0)

    async def _sweep(self, work: _Work) -> None:
        releases = await self.registry.releases(_HISTORY)
        for load in work.loads:
            if load.view.publish == "swap":
                keys = self._keys(work.plan, load)
                await sweep_generations(self.store, keys, load.view, releases, self.clock.now_us())

    def _keys(self, plan: Plan, load: ViewLoad) -> GenerationKeys:
        return GenerationKeys(self.connection, plan.app, load.view.view_id)
