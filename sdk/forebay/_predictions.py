"""Predictions that are made later: what the server says of them, and which of those watched have ended."""

from __future__ import annotations

from collections.abc import Iterable

from forebay import _requests
from forebay._status import error_in
from forebay.errors import DeadlineExceeded, Error, Internal, InvalidRequest, Pending
from forebay.results import Answer
from forebay.v1 import prediction_pb2 as pb

LONGEST_WAIT_S = 20.0
"""How long one call waits; a longer wait is several calls, for servers and balancers cut long ones."""

SHORTEST_WAIT_S = 0.05
"""Between two questions, where the server doesn't wait although it was asked to."""


def get_request(prediction_id: str, wait_s: float) -> pb.GetPredictionRequest:
    """Return the request, waiting no longer than one call may."""
    wait_us = round(max(0.0, min(wait_s, LONGEST_WAIT_S)) * 1_000_000)
    return pb.GetPredictionRequest(prediction_id=prediction_id, wait_us=wait_us)


def is_pending(response: pb.GetPredictionResponse) -> bool:
    """Whether the prediction hasn't ended."""
    return response.state == pb.PREDICTION_STATE_PENDING


def outcome(prediction_id: str, response: pb.GetPredictionResponse) -> Answer | Error:
    """Return the answer, or the error with which the prediction failed; Pending where it hasn't ended.

    The error's metadata carry `prediction_id`, which tells it from an error of the call that asked.
    """
    if response.state == pb.PREDICTION_STATE_DONE:
        return _requests.answer(response.response)
    if response.state == pb.PREDICTION_STATE_FAILED:
        error = error_in(response.error)
    elif is_pending(response):
        error = Pending("the prediction hasn't ended")
    else:
        error = Internal(f"state {response.state}, which this version of forebay doesn't know")
    error.metadata["prediction_id"] = prediction_id
    return error


def answered(prediction_id: str, response: pb.GetPredictionResponse) -> Answer:
    """Return the answer. Raises: Error, as `outcome` returns it."""
    found = outcome(prediction_id, response)
    if isinstance(found, Error):
        raise found
    return found


class Watched:
    """Predictions that are watched, until each has ended."""

    def __init__(self, prediction_ids: Iterable[str]) -> None:
        if isinstance(prediction_ids, str):
            raise InvalidRequest("prediction_ids: needs a list of ids", field="prediction_ids")
        self._pending = dict.fromkeys(prediction_ids)

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def late(self) -> DeadlineExceeded:
        """What to raise when time is up."""
        return DeadlineExceeded(f"{len(self)} of the predictions hadn't ended in time")

    def request(self) -> pb.WatchPredictionRequest:
        """Return the request for those that haven't ended."""
        return pb.WatchPredictionRequest(prediction_ids=self._pending)

    def ended(self, message: pb.WatchPredictionResponse) -> Answer | Error | None:
        """Return how a prediction ended; None where it hasn't, or that was told before."""
        if is_pending(message.result) or message.prediction_id not in self._pending:
            return None
        del self._pending[message.prediction_id]
        return outcome(message.prediction_id, message.result)
