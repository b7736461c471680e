"""Compiles what a pipeline declares about giving answers again. Part of `compile_pipeline.py`."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.answer_key import AnswerKey, KeyInput
from gateway.inputs import InputSchema
from gateway.plan import RecallStep
from registry.pipeline_definitions import Pipeline

ARM = "champion"
"""The arm of the model's traffic that answers; every request's, as long as there is no other."""


def recall_step(
    name: str, definition: Pipeline, inputs: InputSchema, entities: Mapping[str, str]
) -> RecallStep | None:
    """Return when answers are given again; None where none ever is. `entities` maps a view to its entity."""
    cache, retains = definition.cache, "stale_answer" in definition.degrade.predict
    if cache is None and not retains:
        return None
    watched = () if cache is None else cache.invalidate_on
    of_entity = {step.view for step in definition.hydrate}
    of_candidates = {step.view for step in definition.hydrate_candidates}
    return RecallStep(
        key=AnswerKey(f"{name} {definition.predict} {ARM}", _key_inputs(definition, inputs)),
        caches=cache is not None,
        fresh_s=0.0 if cache is None else cache.fresh_us / 1e6,
        stale_s=0.0 if cache is None else (cache.stale_us or 0) / 1e6,
        retains=retains,
        entity_views=tuple((view, entities[view]) for view in watched if view in of_entity),
        candidate_views=tuple(view for view in watched if view in of_candidates),
        watched=frozenset(watched),
    )


def _key_inputs(definition: Pipeline, inputs: InputSchema) -> list[KeyInput]:
    declared = None if definition.cache is None else definition.cache.key
    if declared is None:
        return [KeyInput(field) for field in inputs.fields.values()]
    return [KeyInput(inputs.fields[part.input], part.bin) for part in declared]
