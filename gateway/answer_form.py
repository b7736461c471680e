"""Messages that are filled again and again: to make a PredictResponse with columns and stages costs 80 us,
to fill one that is there 20. `answer_wire.py` writes every answer with these. One thread at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from forebay.v1 import prediction_pb2 as pb
from forebay.v1 import values_pb2

from gateway.batch import Answer, Member
from gateway.convert import fill_column, refill_tensor
from gateway.kept_answer import CacheOutcome
from gateway.plan import CompiledPipeline
from runtime.stages import StageTiming

_MILLION = 1_000_000


class SignedForm:
    """A response that says what belongs to one request: its ids, how it came by its answer, where its time
    went."""

    __slots__ = ("_provenance", "_stages", "response")

    def __init__(self) -> None:
        self.response = pb.PredictResponse()
        self._provenance = self.response.provenance
        self._stages: list[pb.StageTiming] = []

    def sign(self, member: Member, outcome: CacheOutcome, age_us: int) -> None:
        """Write a request's own part. Cost: about 6 us with eight stages."""
        provenance = self._provenance
        provenance.prediction_id = member.prediction_id
        provenance.trace_id = member.trace_id
        provenance.cache = OUTCOMES[outcome]
        provenance.cache_age_us = age_us
        timings, admitted_s = member.stages, member.admitted_s
        if len(timings) != len(self._stages):
            self._fit_stages(timings)
        for message, (stage, start_s, duration_s, given_s) in zip(self._stages, timings, strict=True):
            message.stage = stage
            message.start_us = int((start_s - admitted_s) * _MILLION)
            message.duration_us = int(duration_s * _MILLION)
            message.given_us = int(given_s * _MILLION)

    def _fit_stages(self, timings: Sequence[StageTiming]) -> None:
        stages = self._provenance.stages
        del stages[:]
        self._stages = [stages.add() for _ in timings]


class AnswerForm(SignedForm):
    """The response of one pipeline: what made its answers is written once, and its columns are there.

    Features and degradations differ from request to request; `answer_wire.py` appends their bytes."""

    __slots__ = ("_columns", "inputs")

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        pipeline = answer.member.pipeline
        # Tells of which compiled pipeline it is the form. The pipeline itself would stay here, and with it
        # the indexes and models of its release, until somebody asks for it again.
        self.inputs = pipeline.inputs
        write_origin(self._provenance, pipeline)
        self._columns: list[values_pb2.Tensor] = []
        for messages, parts in (
            (self.response.entities, answer.entities),
            (self.response.scores, answer.scores),
        ):
            for part in parts:
                message = messages.add()
                fill_column(message, part.name, part.values, part.scalar)
                self._columns.append(message.values)

    def fill(self, answer: Answer) -> None:
        """Write an answer's entities and scores, which are scalars without statuses."""
        self._provenance.oldest_as_of_us = answer.oldest_as_of_us
        for tensor, part in zip(self._columns, chain(answer.entities, answer.scores), strict=True):
            refill_tensor(tensor, part.values, part.scalar)


def write_origin(provenance: pb.Provenance, pipeline: CompiledPipeline) -> None:
    """Write what makes a pipeline's answers."""
    retrieve, runner = pipeline.retrieve, pipeline.predict.runner
    provenance.release = pipeline.release
    provenance.model, provenance.model_version = runner.name, runner.version
    if retrieve is not None:
        provenance.index, provenance.index_version = retrieve.index, retrieve.version


OUTCOMES = {
    CacheOutcome.MISS: pb.CACHE_OUTCOME_MISS,
    CacheOutcome.HIT: pb.CACHE_OUTCOME_HIT,
    CacheOutcome.STALE: pb.CACHE_OUTCOME_STALE,
    CacheOutcome.JOINED: pb.CACHE_OUTCOME_JOINED,
    CacheOutcome.PRECOMPUTED: pb.CACHE_OUTCOME_PRECOMPUTED,
    CacheOutcome.OFF: pb.CACHE_OUTCOME_OFF,
}
