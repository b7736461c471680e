"""PredictionService on the wire: a message in, `predict.py`, a message out."""

from __future__ import annotations

from forebay.v1 import prediction_pb2 as pb

from gateway.admit import PredictRequest
from gateway.batch import Answer, Degradation
from gateway.convert import fill_column
from gateway.live import LiveRelease
from gateway.predict import Predictor
from runtime.batcher import Criticality
from runtime.rpc.call import Call
from runtime.stages import StageTiming, since_us


class PredictionServicer:
    """Answers Predict; the methods that it lacks answer UNIMPLEMENTED."""

    def __init__(self, live: LiveRelease, predictor: Predictor) -> None:
        self._live = live
        self._predictor = predictor

    async def Predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:  # noqa: N802
        call.pipeline = request.pipeline
        stages: list[StageTiming] = []
        call.stages = stages
        pipeline = self._live.current.pipeline(request.pipeline)
        call.deadline = pipeline.budget.deadline(call.deadline, call.started_s)
        answer = await self._predictor.predict(
            PredictRequest(
                pipeline=pipeline,
                criticality=Criticality[call.criticality.upper()],
                inputs=request.inputs,
                candidates=request.candidates,
                top=request.top if request.HasField("top") else None,
                return_features=request.return_features,
                deadline=call.deadline,
                admitted_s=call.started_s,
                trace_id=call.trace_id,
                stages=stages,
            )
        )
        response = response_of(answer)
        call.degradations, call.provenance = response.degradations, response.provenance
        return response


def response_of(answer: Answer) -> pb.PredictResponse:
    """Return an answer as the wire carries it."""
    response = pb.PredictResponse(
        degradations=[degradation_message(part) for part in answer.member.degradations],
        provenance=provenance_of(answer),
    )
    for messages, parts in (
        (response.entities, answer.entities),
        (response.scores, answer.scores),
        (response.features, answer.features),
    ):
        for part in parts:
            fill_column(messages.add(), part.name, part.values, part.scalar, part.statuses)
    return response


def provenance_of(answer: Answer) -> pb.Provenance:
    """Return what made the answer."""
    member = answer.member
    pipeline, retrieve = member.pipeline, member.pipeline.retrieve
    return pb.Provenance(
        prediction_id=member.prediction_id,
        release=pipeline.release,
        model=pipeline.predict.runner.name,
        model_version=pipeline.predict.runner.version,
        index="" if retrieve is None else retrieve.index,
        index_version="" if retrieve is None else retrieve.snapshot.manifest.version,
        cache=pb.CACHE_OUTCOME_OFF,
        oldest_as_of_us=answer.oldest_as_of_us,
        stages=[stage_message(timing, member.admitted_s) for timing in member.stages],
        trace_id=member.trace_id,
    )


def degradation_message(degradation: Degradation) -> pb.Degradation:
    """Return what was left out or replaced, as the wire carries it."""
    return pb.Degradation(
        stage=degradation.stage,
        subject=degradation.subject,
        reason=degradation.reason,
        action=degradation.action,
        count=degradation.count,
    )


def stage_message(timing: StageTiming, admitted_s: float) -> pb.StageTiming:
    """Return one step's timing as the wire carries it: relative to when the request was admitted."""
    stage, start_us, duration_us, given_us = since_us(timing, admitted_s)
    return pb.StageTiming(stage=stage, start_us=start_us, duration_us=duration_us, given_us=given_us)
