"""Whose keys a pipeline's candidates are."""

from __future__ import annotations

from collections.abc import Mapping

from registry.definitions import Application, Pipeline
from registry.dtypes import DType


def candidate_entity(application: Application, pipeline: Pipeline) -> str | None:
    """Return the entity of the pipeline's candidates; None where one row is scored, or nothing tells.

    Retrieved candidates are of the index's entity. Candidates from the request are of the entity whose key,
    with the request's own keys, gives the key of every view in `hydrate_candidates`; of several, the one with
    the fewest key fields.
    """
    if pipeline.retrieve:
        index = application.indexes.get(pipeline.retrieve[0].index)
        return None if index is None else index.entity
    if pipeline.candidates is None:
        return None
    given = request_key(application, pipeline)
    entities = _entities_of(application, pipeline)
    for name in sorted(entities, key=lambda name: len(application.entities[name].key)):
        fields = {**given, **application.entities[name].key}
        if all(covers(fields, application.entities[other].key) for other in entities):
            return name
    return None


def request_key(application: Application, pipeline: Pipeline) -> dict[str, DType]:
    """Return the key fields that the request gives: those of the pipeline's entities, each once."""
    return {
        field: dtype
        for name in pipeline.entities
        if name in application.entities
        for field, dtype in application.entities[name].key.items()
    }


def covers(fields: Mapping[str, DType], key: Mapping[str, DType]) -> bool:
    """Return whether `fields` give every field of `key`, with its type."""
    return all(fields.get(name) == dtype for name, dtype in key.items())


def _entities_of(application: Application, pipeline: Pipeline) -> list[str]:
    views = [application.views.get(step.view) for step in pipeline.hydrate_candidates]
    names = [view.entity for view in views if view is not None and view.entity in application.entities]
    return list(dict.fromkeys(names))
