"""SimilarityService on the wire: a message in, `similar.py`, a message out."""

from __future__ import annotations

import random

from forebay.v1 import prediction_pb2
from forebay.v1 import similarity_pb2 as pb

from gateway.admission import Admission
from gateway.budget import Budget
from gateway.convert import fill_column
from gateway.live import LiveRelease
from gateway.similar import SimilaritySearch
from registry.dtypes import Scalar
from runtime.batcher import Criticality
from runtime.recent import RecordedParts
from runtime.rpc.call import Call

_NO_BUDGET = Budget(None, {})


class SimilarityServicer:
    """Answers FindSimilar."""

    def __init__(self, live: LiveRelease, search: SimilaritySearch, admission: Admission) -> None:
        self._live = live
        self._search = search
        self._admission = admission

    async def FindSimilar(self, request: pb.FindSimilarRequest, call: Call) -> pb.FindSimilarResponse:  # noqa: N802
        with self._admission.search(Criticality[call.criticality.upper()]):
            return await self._find(request, call)

    async def _find(self, request: pb.FindSimilarRequest, call: Call) -> pb.FindSimilarResponse:
        release = self._live.current
        found = await self._search.find(
            release,
            request.index,
            request.vector if request.HasField("vector") else None,
            request.key,
            request.k,
            _NO_BUDGET.deadline(call.deadline, call.started_s),
        )
        provenance = prediction_pb2.Provenance(
            prediction_id=f"{random.getrandbits(128):032x}",
            release=release.number,
            index=request.index,
            index_version=found.version,
            cache=prediction_pb2.CACHE_OUTCOME_OFF,
            trace_id=call.trace_id,
        )
        call.answer = RecordedParts(provenance)
        response = pb.FindSimilarResponse(provenance=provenance)
        fill_column(response.entities.add(), found.key_name, found.keys, found.key_scalar)
        fill_column(response.scores, "score", found.scores, Scalar.FLOAT32)
        return response
