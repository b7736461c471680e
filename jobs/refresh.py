"""`forebay refresh run`: loads views from their batch sources into new generations, rebuilds the indexes that
share a space with them, and publishes all of it in one release. If anything fails, what is live stays live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forebay.errors import Conflict, Error, InvalidRequest, NotUsable

from feature_store.keys import row_keys
from feature_store.schema import feature_view
from feature_store.store import OnlineStore
from jobs.abandoned import Abandoned
from jobs.batch_hold import check_hold, holding, take_hold
from jobs.batch_log import BatchLog
from jobs.batch_writer import new_writer
from jobs.engines import DUCKDB, Engine
from jobs.fallback_candidates import fallback_candidates
from jobs.fingerprint import fingerprint
from jobs.generation_keys import GenerationKeys
from jobs.generations import remove_generation, sweep_generations
from jobs.in_thread import in_thread
from jobs.index_build import IndexBuilder, check_bar
from jobs.index_leftovers import sweep_snapshots
from jobs.load import Place
from jobs.precomputed_state import precomputed_remarks
from jobs.progress import Progress
from jobs.refresh_options import RefreshOptions
from jobs.sources import Sources
from jobs.spaces import check_together, shared_with
from jobs.view_checks import ViewChecks
from jobs.view_load import ViewLoad, ViewOutcome, batch_of, batch_views
from registry.batch import Batch, Held
from registry.plan import Plan
from registry.registry import Registry
from registry.release import FallbackRelease, Release, ViewRelease
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection

_HISTORY = 50
"""Releases looked back on for the generations that may be swept."""


@dataclass(frozen=True, slots=True)
class RefreshOutcome:
    """A refresh that is live: its batch, its release, its views, the index versions built with them, and what
    there is to remark: checks that alarm, precomputed answers that are older than it, or missing.
    """

    batch: str
    release: int
    views: tuple[ViewOutcome, ...]
    indexes: dict[str, str]
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Work:
    """A refresh under way: its batch, and whose it is; what it loads, and what else it makes live.

    `started_us` is when it began to read, and until when its data is complete; `reads` the fingerprint of
    what it reads, empty where that can't be known.
    """

    plan: Plan
    names: Sequence[str]
    batch: Batch
    held: Held
    log: BatchLog
    started_us: int
    reads: str
    loads: list[ViewLoad] = field(default_factory=list)
    fallbacks: Mapping[str, FallbackRelease] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refresh:
    """Refreshes one application; what it needs of the world."""

    registry: Registry
    connection: RedisConnection
    store: OnlineStore
    builder: IndexBuilder
    clock: Clock
    progress: Progress
    engine: Engine = DUCKDB

    async def run(self, views: Sequence[str], options: RefreshOptions) -> RefreshOutcome:
        """Load `views` (all with a batch source when empty), publish them, return what was done.

        A batch of the same views that was killed is gone on with, where it read the same; of others that
        were, everything is removed.

        Raises: NotUsable where nothing is applied, or the data doesn't fit (every column that is wrong, of
        every view); Refused by a rule: a broken check, a space taken apart, an index below its bar, no room;
        NotFound, InvalidRequest for a wrong name, or a view that can't be refreshed in part; Conflict where a
        newer refresh was published meanwhile.
        Cost: two passes over each query, three where upserted rows have checks of their values; memory for
        three chunks of rows.
        """
        plan = await self.registry.live_plan()
        if plan is None:
            raise NotUsable(f"no application {self.registry.app} is applied: run `forebay apply FILE` first")
        names = list(dict.fromkeys(views)) or batch_views(plan)
        if not names:
            raise InvalidRequest(f"no view of {plan.app} has a batch source")
        for name in names:
            batch_of(plan, name)
        if not options.same_space:
            check_together(plan.application, names)
        started_us = self.clock.now_us()  # before anything is looked at: until here the data is complete
        work = await self._begun(plan, names, started_us)
        async with holding(self.registry, work.held), self.engine.sources(plan) as sources:
            return await self._logged(work, sources, options)

    async def _begun(self, plan: Plan, names: Sequence[str], started_us: int) -> _Work:
        """Return the work, under a new batch or one that was killed."""
        reads = await in_thread(fingerprint, plan, names)
        log = BatchLog(self.registry, self.clock)
        abandoned = Abandoned(self.registry, self.connection, self.store, self.clock, self.builder.artifacts)
        resumable = reads if self.engine.is_ordered else ""
        taken = await abandoned.take(plan, names, resumable)
        if taken is not None:
            record, held = taken
            batch = Batch(record.id, record.number, record.generations)
            await log.resume(record)
            return _Work(plan, names, batch, held, log, started_us, reads)
        batch = await self.registry.begin_batch(*names)
        held_now = await take_hold(self.registry, batch.id, "", new_writer())
        if held_now is None:
            raise Conflict(f"batch {batch.id} is held by somebody else")
        source = ", ".join(batch_of(plan, name).source or "SQL" for name in names)
        await log.begin(
            batch, "refresh", started_us, views=names, source=source, plan=plan.number, fingerprint=resumable
        )
        await self.registry.begin_generations(_swapped(plan, batch))
        return _Work(plan, names, batch, held_now, log, started_us, reads)

    async def _logged(self, work: _Work, sources: Sources, options: RefreshOptions) -> RefreshOutcome:
        """Run the batch and complete its record, however it ends."""
        log = work.log
        checks = ViewChecks(self.registry, self.connection, log, self.progress)
        try:
            work.loads = await checks.admitted(
                work.plan, work.names, sources, options, work.batch, log.record.started_at_us
            )
            now_us = work.started_us
            work.fallbacks = await in_thread(fallback_candidates, work.plan.application, sources, now_us)
            outcomes = [await self._loaded(work, load) for load in work.loads]
            await in_thread(_check_unchanged, work)
            checks.check_values(work.loads, options)
            await self._forget_deleted(work)
            indexes = {} if options.same_space else await self._rebuilt(work)
            await log.save()
            await check_hold(self.registry, work.held)
            release = await self._published(work, indexes, options)
        except BaseException as error:
            await self._ended(work, error)
            raise
        await log.done(sorted(indexes))
        await self._sweep(work, indexes)
        remarks = [*checks.alarms, *precomputed_remarks(work.plan.application, release, list(work.names))]
        return RefreshOutcome(work.batch.id, release.number, tuple(outcomes), indexes, tuple(remarks))

    async def _loaded(self, work: _Work, load: ViewLoad) -> ViewOutcome:
        keys = self._keys(work.plan, load.view.view_id)
        outcome = await load.run(Place(self.store, self.connection, keys))
        work.log.note(outcome.checks(), rows=outcome.written.total, event_times_us=outcome.event_times_us)
        work.log.note_figures(load.view.name, load.figures(outcome.event_times_us))
        return outcome

    async def _forget_deleted(self, work: _Work) -> None:
        """Remove the rows of entities that were deleted since the refresh began: it may have read them
        before.

        All rows are written by now, so that whoever deletes later finds them.
        """
        for load in work.loads:
            if load.view.publish == "swap":
                view, generation = load.view, load.generation
                texts = await self.registry.deleted(view.view_id, generation)
                await self.store.delete_many(row_keys(view.entity_id, view.view_id, generation, texts))

    async def _rebuilt(self, work: _Work) -> dict[str, str]:
        """Build a new version of every live index whose space these views have; return the versions."""
        live = await self.registry.live()
        _, shared = shared_with(work.plan.application, work.names)
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
        return await self.registry.publish(change, who=options.who, why=why, held=work.held)

    async def _ended(self, work: _Work, cause: BaseException) -> None:
        """Remove what a failed batch wrote beside the live rows, and note why it failed.

        Not where another refresh has taken the batch over: rows and record are its own now. Where Redis can't
        be reached the record says "running", and the next refresh goes on with it, or removes the rows.
        """
        try:
            await check_hold(self.registry, work.held)
            await self._discard(work)
            await work.log.failed(cause)
        except Conflict:
            return
        except Error as error:
            self.progress("cleanup", f"left for the next refresh: {error.message}", 0, 0)

    async def _discard(self, work: _Work) -> None:
        """Remove the rows, unless they are live after all: a publication whose answer was lost may have been
        made.
        """
        live = await self.registry.live()
        was_published = False
        for name in work.names:
            view, generation = feature_view(work.plan, name), work.batch.generations[name]
            entry = live.views.get(name) if live else None
            if view.publish != "swap":
                continue
            if entry is not None and entry.generation == generation:
                was_published = True
                continue
            await remove_generation(self.store, self._keys(work.plan, view.view_id), view, generation)
        if not was_published:
            _, shared = shared_with(work.plan.application, work.names)
            await in_thread(sweep_snapshots, self.builder.artifacts, work.plan.app, shared, work.batch.id)

    async def _sweep(self, work: _Work, indexes: Mapping[str, str]) -> None:
        app, batch = work.plan.app, work.batch.id
        for index, version in indexes.items():  # of a run of this batch that was killed
            await in_thread(sweep_snapshots, self.builder.artifacts, app, [index], batch, int(version))
        releases = await self.registry.releases(_HISTORY)
        for load in work.loads:
            if load.view.publish == "swap":
                keys = self._keys(work.plan, load.view.view_id)
                await sweep_generations(self.store, keys, load.view, releases, self.clock.now_us())

    def _keys(self, plan: Plan, view_id: int) -> GenerationKeys:
        return GenerationKeys(self.connection, plan.app, view_id)


def _swapped(plan: Plan, batch: Batch) -> dict[int, int]:
    """Return the generations that a batch writes beside the live ones, by view id."""
    views = {name: feature_view(plan, name) for name in batch.generations}
    return {view.view_id: batch.generations[name] for name, view in views.items() if view.publish == "swap"}


def _check_unchanged(work: _Work) -> None:
    """Raises: NotUsable where a file was replaced or written while it was read: its rows were counted,
    checked and written in passes that saw different ones."""
    if work.reads and fingerprint(work.plan, work.names) != work.reads:
        raise NotUsable(
            f"a file that {', '.join(work.names)} read changed meanwhile: refresh again; to replace a file, "
            "write another and rename it"
        )
