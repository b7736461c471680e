"""Which precomputed answers a pipeline may give, bound when its release is compiled; `precomputed.py` looks
them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.inputs import InputSchema
from gateway.precomputed.keys import AnswerKeys, KeyPart
from registry.definitions import Application
from registry.precomputed import PrecomputedPart, precomputed_gap
from registry.release import Release


@dataclass(frozen=True, slots=True)
class PrecomputedPlan:
    """The precomputed answers of one pipeline in one release.

    `is_first`: they are looked up before anything is computed. `top` rows each at most, 0 for one row.
    """

    is_first: bool
    keys: AnswerKeys
    top: int
    features: tuple[str, ...]
    max_age_us: int


def precomputed_plan(
    application: Application, release: Release, name: str, inputs: InputSchema
) -> PrecomputedPlan | None:
    """Return how the pipeline gives precomputed answers; None where it doesn't, or there are none for it."""
    declared = application.pipelines[name].precomputed
    entry = release.precomputed.get(name)
    if declared.mode == "off" or entry is None or precomputed_gap(application, name, entry):
        return None
    return PrecomputedPlan(
        is_first=declared.mode == "first",
        keys=answer_keys(release.app, name, entry.version, entry.key, inputs),
        top=entry.top,
        features=entry.features,
        max_age_us=declared.max_age_us,
    )


def answer_keys(
    app: str, pipeline: str, version: int, parts: Sequence[PrecomputedPart], inputs: InputSchema
) -> AnswerKeys:
    """Return what makes the keys of one version's answers."""
    typed = [KeyPart(part, inputs.fields[part.input].dtype) for part in parts]
    return AnswerKeys(app, pipeline, version, typed)
