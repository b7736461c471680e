"""What a release says of a pipeline's precomputed answers: which version is live, what it was made from and
for. How the answers lie in the store is in gateway/precomputed/keys.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from registry.candidates import candidate_entity, request_key
from registry.definitions import Application, Pipeline


@dataclass(frozen=True, slots=True)
class PrecomputedPart:
    """An input that tells answers apart: as it is, or by the bin that it falls into.

    `fixed` is the canonical text of its value where all answers of the version share one; it isn't in their
    keys then. None where they differ.
    """

    input: str
    bin: float | None = None
    fixed: str | None = None


@dataclass(frozen=True, slots=True)
class PrecomputedFor:
    """What answers were asked for, as it was written, so that they can be made again.

    `sql`: a ranking of the entities, of which the first `top` are taken. `combinations`: values of further
    inputs, as `hour=0,6,12,18`; `bins`: widths, as `hour=6`. `rows`: how many each answer ranks, the
    pipeline's own `select.top` where None. `features`: returned with the answers.
    """

    sql: str = ""
    top: int = 10_000
    combinations: tuple[str, ...] = ()
    bins: tuple[str, ...] = ()
    rows: int | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PrecomputedRelease:
    """The live precomputed answers of a pipeline.

    `version` is in their keys. `as_of_us` is when their making began, `made_by` the release they were made
    with: both stay what they are while later releases carry them on. `count` answers, for `entity_count`
    different keys of the request's entities; each has at most `top` rows (0: one row, without a rank) and
    returns `features`. `key` are the inputs that tell the answers apart.

    `inputs` and `columns` are the names and types of all that the pipeline took and gave, `steps` a digest of
    what it declared to do: a pipeline that has changed since can't give the answers.
    """

    version: int
    as_of_us: int
    made_by: int
    count: int
    entity_count: int
    top: int
    key: tuple[PrecomputedPart, ...]
    features: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    steps: str = ""
    made_for: PrecomputedFor = PrecomputedFor()
    batch: str = ""


def precomputed_gap(application: Application, name: str, entry: PrecomputedRelease | None) -> str:
    """Return why a pipeline that is to give precomputed answers has none to give; empty where it has."""
    pipeline = application.pipelines[name]
    if pipeline.precomputed.mode == "off" or pipeline.candidates is not None:
        return ""
    if entry is None:
        return f"nothing is precomputed for it: run `forebay precompute {name} --by SQL`"
    for what, was, now in (
        ("inputs", entry.inputs, input_types(application, pipeline)),
        ("answers", entry.columns, column_types(application, pipeline)),
    ):
        if dict(was) != now:
            return (
                f"what was precomputed for it doesn't fit any more: its {what} were {_listed(was)}, and are "
                f"{_listed(now)}; run `forebay precompute {name}` again"
            )
    if entry.steps != steps_digest(pipeline):
        return (
            "its steps are declared differently since its answers were precomputed: run "
            f"`forebay precompute {name}` again"
        )
    return ""


def steps_digest(pipeline: Pipeline) -> str:
    """Return a digest of all that decides which answer a pipeline gives, `select.top` left out: of the steps,
    and not of their time, of what is done without them, or of how long answers are kept.
    """
    steps = pipeline.model_dump(
        mode="json", include=_STEPS, exclude={"select": {"top"}}, exclude_defaults=True
    )
    return blake2b(json.dumps(steps, sort_keys=True).encode(), digest_size=16).hexdigest()


def input_types(application: Application, pipeline: Pipeline) -> dict[str, str]:
    """Return the names and types of all that a request gives."""
    keys = {name: str(dtype) for name, dtype in request_key(application, pipeline).items()}
    return keys | {name: str(feature.dtype) for name, feature in pipeline.request.items()}


def column_types(application: Application, pipeline: Pipeline) -> dict[str, str]:
    """Return the names and types of what every answer holds: the key of what is scored, and the scores."""
    entity = candidate_entity(application, pipeline)
    key = request_key(application, pipeline) if entity is None else application.entities[entity].key
    model = application.models[pipeline.predict]
    return {name: str(dtype) for name, dtype in key.items()} | dict.fromkeys(model.outputs, "float32")


_STEPS = {
    "entities",
    "request",
    "hydrate",
    "retrieve",
    "candidates",
    "hydrate_candidates",
    "predict",
    "select",
}


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in types.items())
