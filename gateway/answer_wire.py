"""Answers onto the wire: one that was just made becomes a message; a kept one is bytes already, to which this
request's own part is appended."""

from __future__ import annotations

from forebay.v1 import prediction_pb2 as pb

from gateway.batch import Answer, Degradation, Member
from gateway.convert import fill_column
from gateway.kept_answer import CacheOutcome, KeptAnswer, Recalled
from runtime.stages import StageTiming, since_us


def response_of(answer: Answer) -> pb.PredictResponse:
    """Return an answer that no cache took part in as the wire carries it."""
    response = _made(answer)
    _sign(response.provenance, answer.member, CacheOutcome.OFF, 0)
    return response


def response_bytes(answer: Answer | Recalled) -> bytes:
    """Return a serialised PredictResponse.

    What a kept answer's body lacks is appended to it: protobuf defines the concatenation of two messages as
    their merge, field by field, so nothing of the body is parsed or copied twice.
    Cost: for a kept answer one small message and one copy of the body.
    """
    if isinstance(answer, Answer):
        return response_of(answer).SerializeToString()
    own = pb.PredictResponse(degradations=[degradation_message(part) for part in answer.member.degradations])
    _sign(own.provenance, answer.member, answer.outcome, answer.age_us)
    return answer.kept.body + own.SerializeToString()


def keep(answer: Answer, now_us: int) -> KeptAnswer:
    """Return what of an answer may be given to others. Units: `now_us` is when it counts as made, UTC."""
    member = answer.member
    return KeptAnswer(
        body=_made(answer).SerializeToString(),
        release=member.pipeline.release,
        made_us=now_us,
        stale_at_us=member.stale_at_us,
        degraded=bool(member.degradations),
    )


class OwnPart:
    """Writes what belongs to one request of a kept answer that is given at once, as `response_bytes` does.

    One message is filled again and again: to make one, with its stages, costs more than all the rest.
    """

    __slots__ = ("_admit", "_provenance", "_recall", "_response")

    def __init__(self) -> None:
        self._response = pb.PredictResponse()
        self._provenance = self._response.provenance
        self._admit = self._provenance.stages.add(stage="admit")
        self._recall = self._provenance.stages.add(stage="recall")

    def bytes(
        self, ids: tuple[str, str], outcome: CacheOutcome, age_us: int, times_us: tuple[int, int, int]
    ) -> bytes:
        """Return the part, serialised: prediction id and trace id, and how long the steps admit and recall
        took and what the request had been given. Units: microseconds. Cost: about 2 us."""
        provenance, admit, recall = self._provenance, self._admit, self._recall
        provenance.prediction_id, provenance.trace_id = ids
        provenance.cache = _OUTCOMES[outcome]
        provenance.cache_age_us = age_us
        admit_us, recall_us, given_us = times_us
        admit.duration_us = recall.start_us = admit_us
        admit.given_us = given_us
        recall.duration_us, recall.given_us = recall_us, given_us - admit_us
        return self._response.SerializeToString()


class RecordedBytes:
    """A serialised PredictResponse for the ring of recent requests, parsed only if somebody looks."""

    __slots__ = ("_response",)

    def __init__(self, response: bytes) -> None:
        self._response = response

    @property
    def degradations(self) -> list[pb.Degradation]:
        """What the answer had to leave out or replace."""
        return list(pb.PredictResponse.FromString(self._response).degradations)

    @property
    def provenance(self) -> pb.Provenance:
        """What made the answer."""
        return pb.PredictResponse.FromString(self._response).provenance


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


def _made(answer: Answer) -> pb.PredictResponse:
    """Return the part of an answer that is the same for everyone who gets it."""
    response = pb.PredictResponse(
        degradations=[degradation_message(part) for part in answer.member.degradations],
        provenance=_origin(answer),
    )
    for messages, parts in (
        (response.entities, answer.entities),
        (response.scores, answer.scores),
        (response.features, answer.features),
    ):
        for part in parts:
            fill_column(messages.add(), part.name, part.values, part.scalar, part.statuses)
    return response


def _origin(answer: Answer) -> pb.Provenance:
    """Return what made the answer."""
    pipeline = answer.member.pipeline
    retrieve, runner = pipeline.retrieve, pipeline.predict.runner
    return pb.Provenance(
        release=pipeline.release,
        model=runner.name,
        model_version=runner.version,
        index="" if retrieve is None else retrieve.index,
        index_version="" if retrieve is None else retrieve.version,
        oldest_as_of_us=answer.oldest_as_of_us,
    )


def _sign(provenance: pb.Provenance, member: Member, outcome: CacheOutcome, age_us: int) -> None:
    """Add what belongs to one request: its ids, how it came by the answer, and where its time went."""
    provenance.prediction_id = member.prediction_id
    provenance.trace_id = member.trace_id
    provenance.cache = _OUTCOMES[outcome]
    provenance.cache_age_us = age_us
    provenance.stages.extend([stage_message(timing, member.admitted_s) for timing in member.stages])


_OUTCOMES = {
    CacheOutcome.MISS: pb.CACHE_OUTCOME_MISS,
    CacheOutcome.HIT: pb.CACHE_OUTCOME_HIT,
    CacheOutcome.STALE: pb.CACHE_OUTCOME_STALE,
    CacheOutcome.JOINED: pb.CACHE_OUTCOME_JOINED,
    CacheOutcome.PRECOMPUTED: pb.CACHE_OUTCOME_PRECOMPUTED,
    CacheOutcome.OFF: pb.CACHE_OUTCOME_OFF,
}
