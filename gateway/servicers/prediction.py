"""PredictionService on the wire: a message in, `predict.py`, a message out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from forebay.deadline import NEVER, Deadline
from forebay.v1 import prediction_pb2 as pb

from gateway.admit import PredictRequest
from gateway.answer_wire import AnswerWriter, RecordedBytes
from gateway.live import LiveRelease
from gateway.predict import Predictor
from gateway.servicers.known_requests import KnownRequests
from gateway.servicers.prediction_stream import PredictionStream, StreamLimits
from gateway.servicers.submissions import SubmissionServicer
from runtime.batcher import Criticality
from runtime.clock import Clock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.layers import parsed, takes_bytes
from runtime.stages import StageTiming

_CRITICALITIES = {criticality.name.lower(): criticality for criticality in Criticality}


class PredictionServicer:
    """Answers Predict and StreamPredict, and by `submissions` what is made later."""

    def __init__(
        self,
        live: LiveRelease,
        predictor: Predictor,
        limits: StreamLimits,
        clock: Clock,
        recent: RecentRequests,
        submissions: SubmissionServicer,
    ) -> None:
        self._live = live
        self._predictor = predictor
        self._known = KnownRequests(live, predictor.recall, clock)
        self._limits = limits
        self._clock = clock
        self._recent = recent
        self._writer = AnswerWriter()
        self.SubmitPrediction = submissions.SubmitPrediction
        self.GetPrediction = submissions.GetPrediction
        self.WatchPrediction = submissions.WatchPrediction

    @takes_bytes
    async def Predict(self, request: bytes, call: Call) -> bytes:  # noqa: N802
        known = self._known.answer(request, call)
        if known is not None:
            return known
        return await self._predict(parsed(pb.PredictRequest, request), call, NEVER, request)

    async def StreamPredict(  # noqa: N802
        self, requests: AsyncIterator[pb.StreamPredictRequest], call: Call
    ) -> AsyncGenerator[bytes, None]:
        stream = PredictionStream(self._predict, call, self._limits, self._clock, self._recent)
        async with aclosing(stream.answers(requests)) as answers:
            async for answer in answers:
                yield answer

    async def _predict(
        self, request: pb.PredictRequest, call: Call, latest: Deadline, raw: bytes = b""
    ) -> bytes:
        """Answer one request, by `latest` even where the caller and the pipeline allow more."""
        call.pipeline = request.pipeline
        stages: list[StageTiming] = []
        call.stages = stages
        pipeline = self._live.current.pipeline(request.pipeline)
        call.deadline = pipeline.budget.deadline(call.deadline, call.started_s).earliest(latest)
        answer = await self._predictor.predict(
            PredictRequest(
                pipeline=pipeline,
                criticality=_CRITICALITIES[call.criticality],
                inputs=request.inputs,
                candidates=request.candidates,
                top=request.top if request.HasField("top") else None,
                return_features=request.return_features,
                deadline=call.deadline,
                admitted_s=call.started_s,
                trace_id=call.trace_id,
                stages=stages,
                raw=raw,
            )
        )
        response = self._writer.bytes(answer)
        call.answer = RecordedBytes(response)
        return response
