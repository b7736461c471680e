"""Answers onto the wire, as bytes: one that was just made is written field by field; a kept one is bytes
already, to which this request's own part is appended."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.v1 import prediction_pb2 as pb

from gateway.answer_form import Signature, oldest, origin, provenance
from gateway.batch import Answer, Degradation, Member, Recalled
from gateway.column_bytes import ColumnWriter
from gateway.convert import fill_column, statuses_bytes
from gateway.inputs import InputSchema
from gateway.kept_answer import CacheOutcome, KeptAnswer
from gateway.plan import CompiledPipeline
from runtime.stages import StageTiming, since_us

_MOST_ORIGINS = 256
"""Of pipelines, those that releases had before included; past that all are made anew."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """What makes a pipeline's answers, serialised.

    The inputs tell of which compiled pipeline it is. The pipeline itself would stay here, and with it the
    indexes and models of its release, until somebody asks for it again.
    """

    inputs: InputSchema
    raw: bytes


class AnswerWriter:
    """Writes answers onto the wire, one after another. Not for several threads at once."""

    __slots__ = ("_entities", "_features", "_origins", "_scores", "_signature")

    def __init__(self) -> None:
        self._entities, self._scores, self._features = ColumnWriter(1), ColumnWriter(2), ColumnWriter(3)
        self._origins: dict[str, _Origin] = {}
        self._signature = Signature()

    def bytes(self, answer: Answer | Recalled) -> bytes:
        """Return a serialised PredictResponse.

        What a kept answer's body lacks is appended to it: protobuf defines the concatenation of two messages
        as their merge, field by field, so nothing of the body is parsed or copied twice.
        Cost: about 9 us, and 2 for each feature.
        """
        member = answer.member
        if isinstance(answer, Recalled):
            own = provenance(self._signature.fields(member, answer.outcome, answer.age_us))
            return answer.kept.body + own + _degraded(member)
        parts: list[bytes] = []
        for column in answer.entities:
            self._entities.write(parts, column.name, column.values, column.scalar, b"", None)
        for column in answer.scores:
            self._scores.write(parts, column.name, column.values, column.scalar, b"", None)
        for column in answer.features:
            statuses = b"" if column.statuses is None else statuses_bytes(column.statuses)
            self._features.write(parts, column.name, column.values, column.scalar, statuses, None)
        made = self._origin(member.pipeline).raw + oldest(answer.oldest_as_of_us)
        parts.append(provenance(made + self._signature.fields(member, CacheOutcome.OFF, 0)))
        if member.degradations:
            parts.append(_degraded(member))
        return b"".join(parts)

    def _origin(self, pipeline: CompiledPipeline) -> _Origin:
        """Return what makes a pipeline's answers; kept until another pipeline has its name."""
        found = self._origins.get(pipeline.name)
        if found is None or found.inputs is not pipeline.inputs:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            found = _Origin(pipeline.inputs, origin(pipeline).SerializeToString())
            self._origins[pipeline.name] = found
        return found


def response_bytes(answer: Answer | Recalled) -> bytes:
    """Return a serialised PredictResponse of an answer that comes alone. Cost: 60 us."""
    return AnswerWriter().bytes(answer)


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
        provenance.cache = outcome.value  # type: ignore[assignment]
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
        degradations=[degradation_message(part) for part in answer.member.degradations]
    )
    response.provenance.MergeFrom(origin(answer.member.pipeline))
    response.provenance.oldest_as_of_us = answer.oldest_as_of_us
    for messages, parts in (
        (response.entities, answer.entities),
        (response.scores, answer.scores),
        (response.features, answer.features),
    ):
        for part in parts:
            fill_column(messages.add(), part.name, part.values, part.scalar, part.statuses)
    return response


def _degraded(member: Member) -> bytes:
    """Return a request's own degradations, as the bytes of a response that has nothing else."""
    if not member.degradations:
        return b""
    parts = [degradation_message(part) for part in member.degradations]
    return pb.PredictResponse(degradations=parts).SerializeToString()
