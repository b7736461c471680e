"""What is precomputed for each pipeline: how much of what there is it covers, how old it is, and what has
changed since it was made. `forebay precompute --status` and `forebay doctor` show it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from forebay.errors import NotFound

from feature_store.schema import feature_view
from jobs.generation_keys import GenerationKeys
from jobs.precomputed_versions import PrecomputedVersions
from registry.definitions import Application
from registry.durations import format_duration
from registry.plan import Plan
from registry.precomputed import PrecomputedRelease, precomputed_gap
from registry.release import Release


@dataclass(frozen=True, slots=True)
class PrecomputedState:
    """A pipeline's precomputed answers. `entity_total` is how many entities there are, None where nothing
    counts them. `problem` says why they aren't given, `changes` what of that they were made from is no longer
    live.
    """

    pipeline: str
    mode: str
    max_age_us: int
    entry: PrecomputedRelease | None
    entity_total: int | None
    age_us: int
    problem: str
    changes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float | None:
        """Which part of the entities has an answer, 0 to 1."""
        if self.entry is None or not self.entity_total:
            return None
        return min(1.0, self.entry.entity_count / self.entity_total)


async def precomputed_states(
    versions: PrecomputedVersions, plan: Plan, live: Release, now_us: int, only: str = ""
) -> list[PrecomputedState]:
    """Return the state of every pipeline that gives precomputed answers or has some; `only` of one."""
    pipelines = plan.application.pipelines
    names = [
        name
        for name, declared in pipelines.items()
        if only in ("", name) and (only or declared.precomputed.mode != "off" or name in live.precomputed)
    ]
    return [await _state(versions, plan, live, now_us, name) for name in names]


async def _state(
    versions: PrecomputedVersions, plan: Plan, live: Release, now_us: int, name: str
) -> PrecomputedState:
    declared, entry = plan.application.pipelines[name].precomputed, live.precomputed.get(name)
    age_us = 0 if entry is None else max(0, now_us - entry.as_of_us)
    problem = precomputed_gap(plan.application, name, entry)
    if entry is not None and declared.mode == "off":
        problem = "the pipeline says `precomputed: off`"
    elif not problem and age_us > declared.max_age_us:
        problem = f"older than its max_age ({format_duration(declared.max_age_us)}): precompute it again"
    return PrecomputedState(
        pipeline=name,
        mode=declared.mode,
        max_age_us=declared.max_age_us,
        entry=entry,
        entity_total=await _entity_total(versions, plan, live, name),
        age_us=age_us,
        problem=problem,
        changes=() if entry is None else await _changes(versions, plan, live, name, entry),
    )


async def _entity_total(versions: PrecomputedVersions, plan: Plan, live: Release, name: str) -> int | None:
    """Return how many entities the first swapped view holds that the pipeline reads for its request.

    None where there is none, or where the pipeline's request is of several entities.
    """
    pipeline = plan.application.pipelines[name]
    if len(pipeline.entities) != 1:
        return None
    for step in pipeline.hydrate:
        view, entry = feature_view(plan, step.view), live.views.get(step.view)
        if view.publish == "swap" and view.entity == pipeline.entities[0] and entry is not None:
            lists = GenerationKeys(versions.connection, plan.app, view.view_id)
            return await lists.count(entry.generation)
    return None


async def _changes(
    versions: PrecomputedVersions, plan: Plan, live: Release, name: str, entry: PrecomputedRelease
) -> tuple[str, ...]:
    """Return what the pipeline reads that has been published anew since its answers were made."""
    try:
        then = await versions.registry.release(entry.made_by)
    except NotFound:
        return ("everything: the release that they were made with is no longer kept",)
    pipeline = plan.application.pipelines[name]
    found: list[str] = []
    model = pipeline.predict
    if then.models.get(model) != live.models.get(model):
        found.append(f"model {model}")
    found += [
        f"index {retrieve.index}"
        for retrieve in pipeline.retrieve
        if then.indexes.get(retrieve.index) != live.indexes.get(retrieve.index)
    ]
    found += [f"view {view}" for view in pipeline.views if then.views.get(view) != live.views.get(view)]
    return tuple(dict.fromkeys(found))


def precomputed_remarks(application: Application, live: Release | None, views: Collection[str]) -> list[str]:
    """Return a sentence for each pipeline that is to give precomputed answers and has none, or older ones
    than the `views` that were just published.
    """
    found: list[str] = []
    for name, pipeline in application.pipelines.items():
        if pipeline.precomputed.mode == "off" or pipeline.candidates is not None:
            continue
        gap = precomputed_gap(application, name, None if live is None else live.precomputed.get(name))
        renewed = [view for view in pipeline.views if view in views]
        if gap:
            found.append(f"pipeline {name}: {gap}")
        elif renewed:
            found.append(
                f"pipeline {name}: its precomputed answers are older than {', '.join(renewed)}: run "
                f"`forebay precompute {name}` again"
            )
    return found
