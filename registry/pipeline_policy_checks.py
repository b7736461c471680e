"""The rules of a pipeline's budget, degradation, cache and precomputed answers."""

from __future__ import annotations

from collections.abc import Mapping

from registry.candidates import request_key
from registry.data_checks import check_one_of
from registry.definitions import (
    Cache,
    Degrade,
    FeatureScore,
    HydrateView,
    KeyPart,
    Pipeline,
    RetrieveFallback,
    split_column,
)
from registry.dtypes import DType, Scalar
from registry.durations import format_duration
from registry.problems import FilePath, suggestion
from registry.scope import Scope


def check_policies(scope: Scope, path: FilePath, pipeline: Pipeline) -> None:
    """Report every broken rule of what the pipeline does about time, failure and repetition."""
    _check_budget(scope, path, pipeline)
    _check_degrade(scope, (*path, "degrade"), pipeline, pipeline.degrade)
    if pipeline.cache is not None:
        _check_cache(scope, (*path, "cache"), pipeline, pipeline.cache)
    if not scope.is_broken(*path, "precomputed") and not scope.is_broken(*path, "degrade"):
        _check_precomputed(scope, path, pipeline)


def _check_budget(scope: Scope, path: FilePath, pipeline: Pipeline) -> None:
    budget = pipeline.budget
    steps = {
        "hydrate": bool(pipeline.hydrate),
        "retrieve": bool(pipeline.retrieve),
        "hydrate_candidates": bool(pipeline.hydrate_candidates),
    }
    for stage in budget.stages_us:
        if not steps.get(stage, True) and not scope.is_broken(*path, stage):
            scope.report((*path, "budget", stage), f"the pipeline has no step {stage!r}")
    sum_us = sum(budget.stages_us.values())
    if budget.total_us is not None and sum_us > budget.total_us:
        scope.report(
            (*path, "budget", "total"),
            f"is {format_duration(budget.total_us)}, but the steps may take {format_duration(sum_us)} in all",
        )


def _check_degrade(scope: Scope, path: FilePath, pipeline: Pipeline, degrade: Degrade) -> None:
    _check_views(scope, (*path, "hydrate"), degrade.hydrate, pipeline.hydrate)
    _check_views(
        scope, (*path, "hydrate_candidates"), degrade.hydrate_candidates, pipeline.hydrate_candidates
    )
    if degrade.retrieve is not None and not pipeline.retrieve and not scope.is_broken(*path[:-1], "retrieve"):
        scope.report((*path, "retrieve"), "the pipeline has no step 'retrieve'")
    if isinstance(degrade.retrieve, RetrieveFallback):
        inner = (*path, "retrieve", "candidates")
        query = degrade.retrieve.candidates
        check_one_of(scope, inner, query, ("sql", "source"))
        if query.source is not None:
            scope.knows("sources", query.source, (*inner, "source"))
    for place, action in enumerate(degrade.predict):
        where = (*path, "predict", str(place))
        if action == "fail" and place < len(degrade.predict) - 1:
            scope.report(where, "nothing is tried after fail: put it last")
        if isinstance(action, FeatureScore):
            _check_feature_score(scope, (*where, "feature"), pipeline, action.feature)


def _check_views(
    scope: Scope, path: FilePath, rules: Mapping[str, str], steps: tuple[HydrateView, ...]
) -> None:
    read = [step.view for step in steps]
    stage = path[-1]
    if scope.is_broken(*path[:-2], stage):
        return
    for view in rules:
        if view not in read:
            scope.report((*path, view), f"view {view!r} is not in {stage}: {suggestion(view, read)}")


def _check_feature_score(scope: Scope, path: FilePath, pipeline: Pipeline, column: str) -> None:
    dtype = scope.column(column, path)
    view, _ = split_column(column)
    broken = any(scope.is_broken(*path[:2], stage) for stage in ("hydrate", "hydrate_candidates"))
    if dtype is None or broken:
        return
    if view not in pipeline.views:
        scope.report(path, f"view {view!r} is not hydrated by this pipeline")
    elif not _is_number(dtype):
        scope.report(path, f"{column} is {dtype}: only a number can stand in for a score")


def _is_number(dtype: DType) -> bool:
    return not dtype.is_list and dtype.scalar not in (Scalar.STRING, Scalar.BOOL)


def _check_precomputed(scope: Scope, path: FilePath, pipeline: Pipeline) -> None:
    mode, rules = pipeline.precomputed.mode, pipeline.degrade.predict
    where = (*path, "precomputed")
    if mode != "off" and pipeline.candidates is not None:
        scope.report(where, "nothing can be precomputed where the request names the candidates", "warning")
    elif mode == "fallback" and "precomputed" not in rules:
        scope.report(
            where, "no precomputed answer is given unless degrade.predict lists precomputed", "warning"
        )
    elif mode == "off" and "precomputed" in rules:
        rule = (*path, "degrade", "predict", str(rules.index("precomputed")))
        scope.report(rule, "nothing is precomputed: say `precomputed: fallback` in the pipeline", "warning")


def _check_cache(scope: Scope, path: FilePath, pipeline: Pipeline, cache: Cache) -> None:
    keys = request_key(scope.application, pipeline)
    requests = {name: feature.dtype for name, feature in pipeline.request.items()}
    inputs = {**keys, **requests}
    declared = [*keys, *scope.names(*path[:2], "request")]
    for place, part in enumerate(cache.key or ()):
        where = (*path, "key", str(place))
        if part.input not in declared:
            scope.report(where, f"unknown input {part.input!r}: {suggestion(part.input, declared)}")
        elif part.bin is not None and part.input in inputs and not _is_number(inputs[part.input]):
            scope.report(where, f"{part.input!r} is {inputs[part.input]}: only a number falls into bins")
    if cache.key is not None and not pipeline.has_candidates:
        _check_whose(scope, (*path, "key"), keys, cache.key)
    if any(scope.is_broken(*path[:2], stage) for stage in ("hydrate", "hydrate_candidates")):
        return
    for place, view in enumerate(cache.invalidate_on):
        if view not in pipeline.views:
            scope.report(
                (*path, "invalidate_on", str(place)),
                f"view {view!r} is not hydrated by this pipeline: {suggestion(view, pipeline.views)}",
            )


def _check_whose(scope: Scope, path: FilePath, keys: Mapping[str, DType], parts: tuple[KeyPart, ...]) -> None:
    """Where one row is scored the answer names the request's entity: it is nobody else's."""
    whole = {part.input for part in parts if part.bin is None}
    for field in keys:
        if field not in whole:
            scope.report(
                path,
                f"{field!r} must be in it, and without a bin: the pipeline answers for one entity",
            )
