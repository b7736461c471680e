"""Step 1, admit: check a request against its pipeline, and draw its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import randbytes

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest
from forebay.v1 import values_pb2 as pb

from feature_store.keys import canonical_texts
from gateway.batch import Member, RequestCandidates
from gateway.convert import key_columns
from gateway.plan import CompiledPipeline
from runtime.batcher import Criticality
from runtime.stages import StageTiming

MAX_TOP = 10_000
MAX_CANDIDATES = 10_000
_STAND_IN_S = 0.002
"""What is left of a request's time for what stands in for its prediction, where something does."""


@dataclass(slots=True)
class PredictRequest:
    """One request as it came in: its columns and values are still the wire's."""

    pipeline: CompiledPipeline
    criticality: Criticality
    inputs: Mapping[str, pb.Value]
    candidates: Sequence[pb.Column]
    top: int | None
    return_features: Sequence[str]
    deadline: Deadline
    """The caller's, capped by the pipeline's budget."""
    admitted_s: float
    trace_id: str
    stages: list[StageTiming]
    """Filled in step by step, so that a request that fails still says where its time went."""
    raw: bytes = b""
    """The whole request as it came in, by which it is known when it comes again; empty where that isn't at
    hand."""
    prediction_id: str = ""
    """Given where the caller knows it already; drawn otherwise."""


def admit(request: PredictRequest, reply_reserve_s: float = 0.0) -> Member:
    """Return the request, typed. `reply_reserve_s` of its time is kept for the reply, as `Budget` bounds it.

    Raises: InvalidRequest naming the field that is unknown, missing, of a wrong type or out of range.
    """
    pipeline = request.pipeline
    work_until_s, give_up_s = pipeline.budget.ends_s(
        request.deadline,
        request.admitted_s,
        reply_reserve_s,
        _STAND_IN_S if pipeline.predict_fallbacks else 0.0,
    )
    return Member(
        pipeline=pipeline,
        criticality=request.criticality,
        inputs=pipeline.inputs.parse(request.inputs),
        deadline=request.deadline,
        work_until_s=work_until_s,
        give_up_s=give_up_s,
        admitted_s=request.admitted_s,
        top=_top(pipeline, request.top),
        return_features=_return_features(pipeline, request.return_features),
        candidates=_candidates(pipeline, request.candidates),
        prediction_id=request.prediction_id or randbytes(16).hex(),
        trace_id=request.trace_id,
        stages=request.stages,
        raw=request.raw,
    )


def _top(pipeline: CompiledPipeline, top: int | None) -> int:
    if top is None:
        return pipeline.select.top or MAX_TOP
    if pipeline.candidates is None:
        raise InvalidRequest(f"top: pipeline {pipeline.name} scores one row and takes no top", field="top")
    if not 1 <= top <= MAX_TOP:
        raise InvalidRequest(f"top: must be 1 to {MAX_TOP}", field="top")
    return top


def _return_features(pipeline: CompiledPipeline, references: Sequence[str]) -> Sequence[str]:
    if not references:
        return ()
    for reference in references:
        if reference not in pipeline.returnable:
            raise InvalidRequest(
                f"return_features: pipeline {pipeline.name} doesn't read {reference!r}; "
                'name a feature of its hydrated views, as "view.feature"',
                field="return_features",
            )
    if len(references) > 1 and len(set(references)) < len(references):
        repeated = next(name for place, name in enumerate(references) if name in references[:place])
        raise InvalidRequest(f"return_features: {repeated!r} is named twice", field="return_features")
    return references


def _candidates(pipeline: CompiledPipeline, columns: Sequence[pb.Column]) -> RequestCandidates | None:
    declared = pipeline.candidates
    if declared is None or not declared.from_request:
        if columns:
            why = "scores one row and takes no candidates" if declared is None else "finds its own candidates"
            raise InvalidRequest(f"candidates: pipeline {pipeline.name} {why}", field="candidates")
        return None
    keys = key_columns(columns, declared.key, "candidates", MAX_CANDIDATES)
    texts = canonical_texts(declared.key, list(keys.values()), "candidates")
    columns_of_one_type = {
        field.name: np.asarray(keys[field.name], field.dtype.scalar.numpy) for field in declared.key
    }
    return RequestCandidates(texts, columns_of_one_type)
