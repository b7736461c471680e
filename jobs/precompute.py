"""`forebay precompute`: makes a pipeline's answers before anybody asks for them, stores them as a new version
beside the live one, and publishes it in a release. If anything fails, what is live stays live."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from forebay.errors import Conflict, Error, InvalidRequest, NotUsable

from feature_store.windows.freshness import StreamFreshness
from gateway.compile import compile_release
from gateway.plan import CompiledPipeline
from gateway.precomputed.beforehand import Beforehand
from gateway.precomputed.plan import answer_keys
from gateway.predict import Predictor
from gateway.shelf import Shelf
from jobs.batch_log import BatchLog
from jobs.combinations import bins, combinations
from jobs.in_thread import in_thread
from jobs.precompute_plan import Wanted, wanted
from jobs.precompute_run import PrecomputeRun, Tally
from jobs.precomputed_versions import PrecomputedVersions, check_known
from jobs.progress import Progress
from jobs.ranking import Ranking, ranked
from jobs.refused import Refused
from jobs.sources import Sources
from registry.plan import Plan
from registry.precomputed import PrecomputedFor, PrecomputedRelease, column_types, input_types, steps_digest
from registry.release import Release
from runtime.clock import Clock
from runtime.offload import Offload
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class PrecomputeOutcome:
    """Answers that are live: their version, their release; what the ranking left out."""

    pipeline: str
    entry: PrecomputedRelease
    release: int
    tally: Tally
    keyless: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Precompute:
    """Precomputes answers of one application; what it needs of the world."""

    versions: PrecomputedVersions
    settings: Settings
    clock: Clock
    progress: Progress

    async def run(self, pipeline: str, options: PrecomputedFor | None = None) -> PrecomputeOutcome:
        """Make, store and publish the answers; return what was done. Without options those that are live are
        made again.

        Raises: NotFound for an unknown pipeline; InvalidRequest for options that don't fit it; Refused by a
        rule: a pipeline that gives no precomputed answers, a ranking without rows, a store too small;
        NotUsable where the pipeline can't be served, or no answer could be made; Unavailable where the store
        is; Conflict where a newer version was published meanwhile.
        Cost: a pass over the ranking; for each 256 answers or fewer one batch through the pipeline's steps.
        Memory for the ranking's rows and a thousand answers.
        """
        plan, live = await self._live()
        _check_allowed(plan, pipeline)
        options = options or _as_before(live, pipeline)
        started_us = self.clock.now_us()
        freshness = StreamFreshness(await self.versions.registry.watermarks.lowest())
        compiled = await in_thread(self._compiled, plan, live, pipeline, freshness)
        _check_answers(compiled, options)
        ranking, inputs = await in_thread(self._wanted, plan, compiled, options)
        registry = self.versions.registry
        batch = await registry.begin_batch()
        log = BatchLog(registry, self.clock)
        await log.begin(batch, "precompute", started_us, pipelines=[pipeline], source=_source(options))
        version = await registry.next_precomputed_version(pipeline)
        try:
            tally = await self._made(compiled, inputs, version, options)
            log.note({"answers": _summary(tally)}, rows=tally.answers)
            entry = _entry(plan, live, compiled, inputs, version, tally, options)
            entry = replace(entry, as_of_us=started_us, batch=batch.id)
            release = await self._published(pipeline, entry)
        except BaseException as error:
            await self._discard(pipeline, version)
            await log.failed(error)
            raise
        await log.done()
        await self.versions.sweep(pipeline)
        repeated = ranking.repeated + inputs.repeated
        return PrecomputeOutcome(pipeline, entry, release.number, tally, ranking.keyless, repeated)

    async def _live(self) -> tuple[Plan, Release]:
        registry = self.versions.registry
        live = await registry.live()
        if live is None:
            raise NotUsable(f"no application {registry.app} is applied: run `forebay apply FILE` first")
        return await registry.plan(live.plan), live

    def _compiled(self, plan: Plan, live: Release, name: str, freshness: StreamFreshness) -> CompiledPipeline:
        """Load what the pipeline needs, and nothing else. Raises: NotUsable, saying what is missing."""
        application = plan.application
        pipeline = application.pipelines[name]
        used = {retrieve.index for retrieve in pipeline.retrieve}
        indexes = {index: application.indexes[index] for index in application.indexes if index in used}
        narrow = application.model_copy(update={"pipelines": {name: pipeline}, "indexes": indexes})
        settings = self.settings
        shelf = Shelf(plan.app, settings.artifacts, Path(plan.root), settings.ann_index, settings.onnx)
        narrow_plan = replace(plan, application=narrow)
        return compile_release(narrow_plan, live, shelf, freshness).pipeline(name)

    def _wanted(
        self, plan: Plan, compiled: CompiledPipeline, options: PrecomputedFor
    ) -> tuple[Ranking, Wanted]:
        """Run the ranking, and combine it with the other inputs' values."""
        schema = compiled.inputs
        dtypes = {name: field.dtype for name, field in schema.fields.items()}
        combined, widths = combinations(options.combinations, dtypes), bins(options.bins, dtypes)
        ranking = Ranking({})
        if options.sql:
            keys = [name for name, field in schema.fields.items() if field.is_key and name not in combined]
            with Sources(plan.application.sources, Path(plan.root)) as sources:
                ranking = ranked(sources, options.sql, options.top, keys, dtypes, self._ranks(compiled.name))
            if not ranking.count:
                without = f" with a key ({ranking.keyless:,} without)" if ranking.keyless else ""
                raise Refused(f"by: the SQL returns no rows{without}: what is live stays")
        pipeline = plan.application.pipelines[compiled.name]
        return ranking, wanted(pipeline, schema, ranking.columns, combined, widths)

    def _ranks(self, pipeline: str) -> Callable[[int], None]:
        return lambda count: self.progress(f"pipeline {pipeline}", "rank", count, 0)

    async def _made(
        self, compiled: CompiledPipeline, inputs: Wanted, version: int, options: PrecomputedFor
    ) -> Tally:
        """Make and store the version's answers. Raises: NotUsable where there is not one."""
        settings, store = self.settings.gateway, self.versions.store
        offload = Offload(
            self.clock, threads=settings.offload_threads, inline_below_s=settings.inline_below_s
        )
        async with AsyncExitStack() as stack:
            stack.callback(offload.close)
            predictor = Predictor(store, offload, self.clock)
            stack.push_async_callback(predictor.aclose)
            maker = Beforehand(
                predictor,
                compiled,
                self.clock,
                top=_top(compiled, options),
                features=options.features,
            )
            run = PrecomputeRun(
                pipeline=compiled.name,
                version=version,
                keys=answer_keys(
                    self.versions.registry.app, compiled.name, version, inputs.parts, compiled.inputs
                ),
                entity_inputs=tuple(field.name for field in compiled.entity_keys),
                maker=maker,
                versions=self.versions,
                progress=self.progress,
            )
            tally = await run.store(inputs)
        if not tally.answers:
            raise NotUsable(
                f"none of {tally.failed_count:,} answers could be made: {next(iter(tally.failed))}"
            )
        return tally

    async def _published(self, pipeline: str, entry: PrecomputedRelease) -> Release:
        def change(release: Release) -> Release:
            live = release.precomputed.get(pipeline)
            if live is not None and live.version > entry.version:
                raise Conflict(
                    f"newer answers of pipeline {pipeline} were published meanwhile; these are dropped"
                )
            return release.with_precomputed(pipeline, entry)

        why = f"precompute {entry.batch}: {entry.count:,} answers of {pipeline}"
        return await self.versions.registry.publish(change, who=self.versions.who, why=why)

    async def _discard(self, pipeline: str, version: int) -> None:
        """Remove a version that failed.

        Not where it is live after all: a publication whose answer was lost may have been made. Where the
        store can't be reached its answers stay, and the next version's making sweeps them.
        """
        try:
            live = await self.versions.registry.live()
            entry = None if live is None else live.precomputed.get(pipeline)
            if entry is None or entry.version != version:
                await self.versions.remove(pipeline, version)
        except Error as error:
            self.progress("cleanup", f"left for the next time: {error.message}", 0, 0)


def _check_allowed(plan: Plan, pipeline: str) -> None:
    check_known(plan, pipeline)
    declared = plan.application.pipelines[pipeline]
    if declared.candidates is not None:
        raise Refused(
            f"pipeline {pipeline} takes its candidates from the request: nobody knows beforehand which they "
            "will be"
        )
    if declared.precomputed.mode == "off":
        raise Refused(
            f"pipeline {pipeline} gives no precomputed answers: declare `precomputed: first` or "
            "`precomputed: fallback` in it, and apply that"
        )


def _as_before(live: Release, pipeline: str) -> PrecomputedFor:
    """Return what the live answers were made for. Raises: InvalidRequest where there are none."""
    entry = live.precomputed.get(pipeline)
    if entry is None or entry.made_for == PrecomputedFor():
        raise InvalidRequest(
            f"nothing is precomputed for pipeline {pipeline} that could be made again: say for which "
            "entities, --by SQL, --combinations INPUT=VALUE,..., or both",
            field="by",
        )
    return entry.made_for


def _check_answers(compiled: CompiledPipeline, options: PrecomputedFor) -> None:
    """Raises: InvalidRequest for rows of a pipeline that ranks none, or a feature that it doesn't read."""
    if options.rows is not None and compiled.candidates is None:
        raise InvalidRequest(f"rows: pipeline {compiled.name} answers one row", field="rows")
    for feature in options.features:
        if feature not in compiled.returnable:
            known = ", ".join(compiled.returnable)
            raise InvalidRequest(
                f"return-feature: pipeline {compiled.name} doesn't read {feature!r}; it reads {known}",
                field="return_features",
            )


def _top(compiled: CompiledPipeline, options: PrecomputedFor) -> int:
    """Return how many rows an answer ranks; 0 where it is one row without a rank."""
    return 0 if compiled.candidates is None else options.rows or compiled.select.top or 0


def _entry(
    plan: Plan,
    live: Release,
    compiled: CompiledPipeline,
    inputs: Wanted,
    version: int,
    tally: Tally,
    options: PrecomputedFor,
) -> PrecomputedRelease:
    declared = plan.application.pipelines[compiled.name]
    return PrecomputedRelease(
        version=version,
        as_of_us=0,
        made_by=live.number,
        count=tally.answers,
        entity_count=len(tally.entities),
        top=_top(compiled, options),
        key=inputs.parts,
        features=tuple(options.features),
        inputs=input_types(plan.application, declared),
        columns=column_types(plan.application, declared),
        steps=steps_digest(declared),
        made_for=options,
    )


def _source(options: PrecomputedFor) -> str:
    return "; ".join([*([options.sql] if options.sql else []), *options.combinations])


def _summary(tally: Tally) -> str:
    made = f"{tally.answers} for {len(tally.entities)} entities"
    return f"{made}, {tally.degraded} degraded, {tally.failed_count} failed"
