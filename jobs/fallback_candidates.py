"""The candidates that pipelines fall back on where none can be retrieved (`degrade.retrieve`): the keys that
the declared query returns now, which a release carries. Made anew by every apply and refresh."""

from __future__ import annotations

from forebay.errors import NotUsable

from jobs.ranking import ranked
from jobs.sources import Sources
from registry.candidates import candidate_entity
from registry.definitions import Application
from registry.pipeline_definitions import Pipeline, RetrieveFallback
from registry.release import FallbackRelease

MOST = 1_000
"""Keys of one pipeline; a release holds them all."""


def fallback_candidates(
    application: Application, sources: Sources, now_us: int
) -> dict[str, FallbackRelease]:
    """Return the fallback candidates of every pipeline that declares some, the first `MOST` of its query.

    Raises: InvalidRequest for SQL that can't run or lacks the key; NotUsable for data that doesn't fit, or no
    rows at all. Cost: blocking; stops reading at `MOST`.
    """
    return {
        name: FallbackRelease(_keys(application, name, pipeline, sources), now_us)
        for name, pipeline in application.pipelines.items()
        if isinstance(pipeline.degrade.retrieve, RetrieveFallback)
    }


def readable_fallback_candidates(
    application: Application, sources: Sources, now_us: int
) -> tuple[dict[str, FallbackRelease], list[str]]:
    """Return those that can be had now, and a sentence for each pipeline whose data isn't there yet."""
    found: dict[str, FallbackRelease] = {}
    missing: list[str] = []
    for name, pipeline in application.pipelines.items():
        only = application.model_copy(update={"pipelines": {name: pipeline}})
        try:
            found |= fallback_candidates(only, sources, now_us)
        except NotUsable as error:
            missing.append(f"pipeline {name} has no fallback candidates until a refresh: {error.message}")
    return found, missing


def _keys(application: Application, name: str, pipeline: Pipeline, sources: Sources) -> tuple[int | str, ...]:
    place = f"pipelines.{name}.degrade.retrieve.candidates"
    entity = candidate_entity(application, pipeline)
    key = {} if entity is None else dict(application.entities[entity].key)
    if len(key) != 1:
        raise NotUsable(f"{place}: candidates of an index have one key field")
    [field] = key
    ranking = ranked(sources, _sql(pipeline, field), MOST, [field], key, lambda count: None, place=place)
    if not ranking.count:
        raise NotUsable(f"{place}: the query returns no rows")
    return tuple(value if isinstance(value, str) else int(value) for value in ranking.columns[field])


def _sql(pipeline: Pipeline, field: str) -> str:
    fallback = pipeline.degrade.retrieve
    if not isinstance(fallback, RetrieveFallback):
        raise ValueError("only a pipeline with fallback candidates has a query for them")
    query = fallback.candidates
    return query.sql if query.sql is not None else f'select "{field}" from "{query.source}"'
