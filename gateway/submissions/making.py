"""Makes one submitted prediction in a worker: the same eight steps as Predict, with time to spare."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from forebay.deadline import Deadline
from forebay.errors import InvalidRequest, NotFound, NotUsable, Unavailable
from forebay.v1 import prediction_pb2 as pb

from gateway.admit import PredictRequest
from gateway.answer_wire import response_bytes
from gateway.budget import Budget
from gateway.live import LiveRelease
from gateway.plan import CompiledPipeline, CompiledRelease
from gateway.predict import Predictor
from gateway.submissions.messages import request_of
from gateway.submissions.submission import Submission
from runtime.batcher import Criticality
from runtime.clock import Clock
from runtime.submission_settings import SubmissionSettings

_LOOK_S = 0.05
_CLAIM_RATIO = 0.8
"""What a prediction may take at most of the time after which it is given to another worker."""


class Making:
    """Makes predictions on the release in service; concurrent ones share batches."""

    def __init__(
        self,
        live: LiveRelease,
        predictor: Predictor,
        clock: Clock,
        settings: SubmissionSettings,
        registry_poll_s: float,
    ) -> None:
        self._live = live
        self._predictor = predictor
        self._clock = clock
        self._timeout_s = settings.timeout_s
        self._longest_s = settings.claim_after_s * _CLAIM_RATIO
        self._registry_poll_s = registry_poll_s
        self._release: CompiledRelease | None = None
        self._patient: dict[str, CompiledPipeline] = {}

    async def make(self, submission: Submission) -> bytes:
        """Return the answer, a serialised PredictResponse of the submitted id.

        A prediction that this process can't serve although a newer release accepted it waits for that release
        for a moment.

        Raises: as `Predictor.predict`; Corrupt where the request can't be read; Unavailable where the newer
        release doesn't come.
        """
        message = request_of(submission.request)
        while True:
            release = self._live.current
            try:
                request = self._request(submission, message, self._pipeline(release, message.pipeline))
                return response_bytes(await self._predictor.predict(request))
            except (InvalidRequest, NotFound, NotUsable) as error:
                if release.number >= submission.release:
                    raise
                if not await self._moved_on(release.number):
                    raise Unavailable(
                        f"this worker is on release {release.number}, the prediction was accepted on "
                        f"{submission.release}: {error.message}"
                    ) from error

    async def _moved_on(self, number: int) -> bool:
        """Return whether another release than this comes into service within two looks at the registry."""
        until_s = self._clock.monotonic_s() + 2 * self._registry_poll_s
        while self._live.current.number == number:
            if self._clock.monotonic_s() >= until_s:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def _request(
        self, submission: Submission, message: pb.PredictRequest, pipeline: CompiledPipeline
    ) -> PredictRequest:
        now_s = self._clock.monotonic_s()
        return asked(
            message,
            pipeline,
            criticality=Criticality.SHEDDABLE,
            deadline=Deadline.after(pipeline.budget.total_s or self._timeout_s, now_s),
            admitted_s=now_s,
            trace_id=submission.trace_id,
            prediction_id=submission.prediction_id,
        )

    def _pipeline(self, release: CompiledRelease, name: str) -> CompiledPipeline:
        """Return a pipeline without its stages' caps, and with at least `timeout_s` in all: what nobody waits
        for is better late than degraded. Nor does it take part in the prediction cache: it is made.

        Raises: NotFound, NotUsable.
        """
        if release is not self._release:
            self._release, self._patient = release, {}  # lets go of the indexes and models of the one before
        found = self._patient.get(name)
        if found is None:
            declared = release.pipeline(name)
            total_s = min(max(self._timeout_s, declared.budget.total_s or 0.0), self._longest_s)
            found = replace(declared, budget=Budget(total_s, {}), recall=None)
            self._patient[name] = found
        return found


def asked(
    message: pb.PredictRequest,
    pipeline: CompiledPipeline,
    *,
    criticality: Criticality,
    deadline: Deadline,
    admitted_s: float,
    trace_id: str,
    prediction_id: str = "",
) -> PredictRequest:
    """Return a message as the request that `predict.py` takes."""
    return PredictRequest(
        pipeline=pipeline,
        criticality=criticality,
        inputs=message.inputs,
        candidates=message.candidates,
        top=message.top if message.HasField("top") else None,
        return_features=message.return_features,
        deadline=deadline,
        admitted_s=admitted_s,
        trace_id=trace_id,
        stages=[],
        prediction_id=prediction_id,
    )
