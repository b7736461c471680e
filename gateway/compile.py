"""Binds a release to its engines: every name of the plan becomes a reader, a snapshot, a runner, a spec.
Blocking (it loads indexes and models); `live.py` runs it in a thread. Its pipelines are compiled in
`compile_pipeline.py`; what comes of it is in `plan.py`."""

from __future__ import annotations

from forebay.errors import Error

from ann_index.snapshot import Snapshot
from feature_store.codec import ViewReader, WindowReader
from feature_store.schema import feature_view
from feature_store.types import KeyField
from feature_store.windows.freshness import StreamFreshness
from gateway.compile_pipeline import PipelineCompiler
from gateway.plan import CompiledPipeline, CompiledRelease
from gateway.shelf import Shelf
from registry.definitions import Application
from registry.pipeline_definitions import Pipeline, RetrieveFallback
from registry.plan import Plan
from registry.precomputed import precomputed_gap
from registry.release import FallbackRelease, Release


def compile_release(
    plan: Plan, release: Release, shelf: Shelf, freshness: StreamFreshness | None = None
) -> CompiledRelease:
    """Return the release, ready to serve. What can't be bound is left out and listed with its reason.

    `freshness` tells how far streams have come, whenever rows are read; without it nothing is known of that.

    Cost: blocking; loads the indexes and models that the shelf doesn't hold yet.
    """
    application = plan.application
    freshness = freshness or StreamFreshness()
    readers = {name: _reader(plan, release, name, freshness) for name in application.views}
    indexes, broken_indexes = _snapshots(application, release, shelf)
    compiler = PipelineCompiler(plan, release, shelf, readers, indexes, broken_indexes)
    pipelines: dict[str, CompiledPipeline] = {}
    broken: dict[str, str] = {}
    for name, definition in application.pipelines.items():
        try:
            pipelines[name] = compiler.pipeline(name, definition)
        except Error as error:
            broken[name] = error.message
    return CompiledRelease(
        number=release.number,
        plan=plan.number,
        app=plan.app,
        readers=readers,
        indexes=indexes,
        pipelines=pipelines,
        broken_pipelines=broken,
        broken_indexes=broken_indexes,
        uncovered=_uncovered(application, release),
        entities={
            name: tuple(KeyField(field, dtype) for field, dtype in entity.key.items())
            for name, entity in application.entities.items()
        },
        batches={name: view.batch for name, view in release.views.items() if view.batch},
    )


def _uncovered(application: Application, release: Release) -> dict[str, str]:
    gaps = {
        name: precomputed_gap(application, name, release.precomputed.get(name))
        or _fallback_gap(pipeline, release.fallbacks.get(name))
        for name, pipeline in application.pipelines.items()
    }
    return {name: gap for name, gap in gaps.items() if gap}


def _fallback_gap(pipeline: Pipeline, entry: FallbackRelease | None) -> str:
    if entry is not None or not isinstance(pipeline.degrade.retrieve, RetrieveFallback):
        return ""
    return "its fallback candidates have never been read: run `forebay refresh run`"


def _reader(plan: Plan, release: Release, name: str, freshness: StreamFreshness) -> ViewReader:
    """Return a view's reader: of the live generation; of generation 0 where rows are written in place."""
    view = feature_view(plan, name)
    live = release.views.get(name)
    if view.ring is not None:
        return WindowReader(view, None if live is None else live.generation, freshness)
    if view.publish == "upsert":
        return ViewReader(view, generation=0 if live is None else live.generation, as_of_us=None)
    if live is None:
        return ViewReader(view, generation=None, as_of_us=None)
    return ViewReader(view, generation=live.generation, as_of_us=live.as_of_us)


def _snapshots(
    application: Application, release: Release, shelf: Shelf
) -> tuple[dict[str, Snapshot], dict[str, str]]:
    snapshots: dict[str, Snapshot] = {}
    broken: dict[str, str] = {}
    for name, declared in application.indexes.items():
        if name not in release.indexes:
            broken[name] = f"no version is published; run `forebay index build {name}`"
            continue
        try:
            snapshot = shelf.snapshot(name, release.indexes[name].version)
        except Error as error:
            broken[name] = error.message
            continue
        misfit = snapshot.manifest.misfit(declared)
        if misfit:
            broken[name] = misfit
        else:
            snapshots[name] = snapshot
    return snapshots, broken
