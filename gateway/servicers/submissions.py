"""The part of PredictionService that is made later: Submit, Get, Watch. `gateway/submissions/` does the
work."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from forebay.deadline import Deadline
from forebay.errors import Corrupt, InvalidRequest, NotFound
from forebay.v1 import prediction_pb2 as pb

from gateway.admit import admit
from gateway.live import LiveRelease
from gateway.plan import CompiledPipeline
from gateway.submissions.making import asked
from gateway.submissions.messages import failed_result, request_bytes, result_of
from gateway.submissions.submission import Outcome
from gateway.submissions.submission_queue import SubmissionQueue
from gateway.submissions.waiting import Waiting
from runtime.batcher import Criticality
from runtime.clock import Clock
from runtime.rpc.call import Call
from runtime.submission_settings import SubmissionSettings

_RESERVE_RATIO, _LONGEST_RESERVE_S = 0.1, 0.05
"""What a wait leaves of the caller's time, so that "still pending" reaches it in time."""


class SubmissionServicer:
    """Accepts predictions, and gives their results out."""

    def __init__(
        self,
        live: LiveRelease,
        queue: SubmissionQueue,
        waiting: Waiting,
        settings: SubmissionSettings,
        clock: Clock,
    ) -> None:
        self._live = live
        self._queue = queue
        self._waiting = waiting
        self._settings = settings
        self._clock = clock

    async def SubmitPrediction(  # noqa: N802
        self, request: pb.SubmitPredictionRequest, call: Call
    ) -> pb.SubmitPredictionResponse:
        message = request.request
        call.pipeline = message.pipeline
        if not request.HasField("request"):
            raise InvalidRequest("request: what to predict is missing", field="request")
        release = self._live.current
        self._check(message, call, release.pipeline(message.pipeline))
        prediction_id = await self._queue.submit(
            request_bytes(message),
            release=release.number,
            idempotency_key=request.idempotency_key,
            trace_id=call.trace_id,
            deadline=call.deadline,
        )
        return pb.SubmitPredictionResponse(prediction_id=prediction_id)

    async def GetPrediction(  # noqa: N802
        self, request: pb.GetPredictionRequest, call: Call
    ) -> pb.GetPredictionResponse:
        if not request.prediction_id:
            raise InvalidRequest("prediction_id: is missing", field="prediction_id")
        if request.wait_us < 0:
            raise InvalidRequest("wait_us: must not be negative", field="wait_us")
        if request.wait_us == 0:
            found = await self._queue.outcome(request.prediction_id, call.deadline)
        else:
            until = self._until(request.wait_us / 1e6, call)
            found = await self._waiting.outcome(request.prediction_id, until, call.deadline)
        if found is None:
            raise _unknown()
        return result_of(found)

    async def WatchPrediction(  # noqa: N802
        self, request: pb.WatchPredictionRequest, call: Call
    ) -> AsyncGenerator[pb.WatchPredictionResponse, None]:
        count, most = len(request.prediction_ids), self._settings.max_watched
        if not 1 <= count <= most:
            raise InvalidRequest(f"prediction_ids: must be 1 to {most}, not {count}", field="prediction_ids")
        async with aclosing(self._waiting.each(request.prediction_ids, call.deadline)) as ended:
            async for prediction_id, outcome in ended:
                yield pb.WatchPredictionResponse(prediction_id=prediction_id, result=_result(outcome))

    def _check(self, message: pb.PredictRequest, call: Call, pipeline: CompiledPipeline) -> None:
        """Refuse now what could only fail later. Raises: InvalidRequest naming the field."""
        admit(
            asked(
                message,
                pipeline,
                criticality=Criticality.SHEDDABLE,
                deadline=call.deadline,
                admitted_s=call.started_s,
                trace_id=call.trace_id,
            )
        )

    def _until(self, wait_s: float, call: Call) -> Deadline:
        """Return when to answer what is known by then: as asked, within the limit, and before the caller
        leaves."""
        now_s = self._clock.monotonic_s()
        reserve_s = min(_RESERVE_RATIO * call.deadline.remaining_s(now_s), _LONGEST_RESERVE_S)
        asked_for = Deadline.after(min(wait_s, self._settings.max_wait_s), now_s)
        return asked_for.earliest(Deadline(call.deadline.at_s - reserve_s))


def _result(outcome: Outcome | None) -> pb.GetPredictionResponse:
    """Return a result; one that is unknown, or can't be read, is an error of its own and ends no other's."""
    if outcome is None:
        return failed_result(_unknown())
    try:
        return result_of(outcome)
    except Corrupt as error:
        return failed_result(error)


def _unknown() -> NotFound:
    return NotFound(
        "there is no prediction of this id: it was never submitted, or its result has expired",
        field="prediction_id",
    )
