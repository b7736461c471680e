"""The provenance of an answer as bytes: what makes a pipeline's answers, and each request's own part.
`answer_wire.py` puts answers together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from forebay.v1 import prediction_pb2 as pb

from gateway.batch import Member
from gateway.kept_answer import CacheOutcome
from gateway.plan import CompiledPipeline
from gateway.wire_bytes import sized, varint
from runtime.stages import StageTiming

_MILLION = 1_000_000
_INSTANTS = 1_024
"""As-of times whose bytes are kept: rows that were written together have one."""
_OLDEST_AS_OF_US = b"\x48"  # field 9 of Provenance
_PROVENANCE = b"\x2a"  # field 5 of PredictResponse


class Signature:
    """Writes what belongs to one request: its ids, how it came by its answer, where its time went. One thread
    at a time.

    One message is filled again and again: to make one, with its stages, costs 40 us. The members of a batch
    share the timings of its steps, of which then only the starts are written.
    """

    __slots__ = ("_provenance", "_stages", "_timings")

    def __init__(self) -> None:
        self._provenance = pb.Provenance()
        self._stages: list[pb.StageTiming] = []
        self._timings: list[StageTiming | None] = []

    def fields(self, member: Member, outcome: CacheOutcome, age_us: int) -> bytes:
        """Return the fields of a Provenance. Cost: 9 us with eight stages, 5 for a batch's later members."""
        provenance, written, admitted_s = self._provenance, self._timings, member.admitted_s
        provenance.prediction_id = member.prediction_id
        provenance.trace_id = member.trace_id
        provenance.cache = _OUTCOMES[outcome]
        provenance.cache_age_us = age_us
        if len(member.stages) != len(written):
            self._fit_stages(member.stages)
            written = self._timings
        for place, timing in enumerate(member.stages):
            message = self._stages[place]
            message.start_us = int((timing[1] - admitted_s) * _MILLION)
            if timing is not written[place]:
                written[place] = timing
                message.stage = timing[0]
                message.duration_us = int(timing[2] * _MILLION)
                message.given_us = int(timing[3] * _MILLION)
        return provenance.SerializeToString()

    def _fit_stages(self, timings: Sequence[StageTiming]) -> None:
        stages = self._provenance.stages
        del stages[:]
        self._stages = [stages.add() for _ in timings]
        self._timings = [None for _ in timings]


@lru_cache(_INSTANTS)
def oldest(as_of_us: int) -> bytes:
    """Return the field of a Provenance that says how old the oldest row is."""
    return _OLDEST_AS_OF_US + varint(as_of_us) if as_of_us else b""


def provenance(fields: bytes) -> bytes:
    """Return the field of a PredictResponse that holds these fields of a Provenance."""
    return sized(_PROVENANCE, fields)


def origin(pipeline: CompiledPipeline) -> pb.Provenance:
    """Return what makes a pipeline's answers."""
    retrieve, runner = pipeline.retrieve, pipeline.predict.runner
    found = pb.Provenance(release=pipeline.release, model=runner.name, model_version=runner.version)
    if retrieve is not None:
        found.index, found.index_version = retrieve.index, retrieve.version
    return found


_OUTCOMES = {
    CacheOutcome.MISS: pb.CACHE_OUTCOME_MISS,
    CacheOutcome.HIT: pb.CACHE_OUTCOME_HIT,
    CacheOutcome.STALE: pb.CACHE_OUTCOME_STALE,
    CacheOutcome.JOINED: pb.CACHE_OUTCOME_JOINED,
    CacheOutcome.PRECOMPUTED: pb.CACHE_OUTCOME_PRECOMPUTED,
    CacheOutcome.OFF: pb.CACHE_OUTCOME_OFF,
}
