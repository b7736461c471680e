"""Between the wire's messages and the bytes that the queue keeps."""

from __future__ import annotations

from typing import TypeVar

from forebay.errors import Corrupt, Error
from forebay.v1 import prediction_pb2 as pb
from google.protobuf.message import DecodeError, Message

from gateway.submissions.submission import Outcome, State
from runtime.rpc.status import status_of

M = TypeVar("M", bound=Message)

_STATES = {
    State.PENDING: pb.PREDICTION_STATE_PENDING,
    State.DONE: pb.PREDICTION_STATE_DONE,
    State.FAILED: pb.PREDICTION_STATE_FAILED,
}


def request_bytes(message: pb.PredictRequest) -> bytes:
    """Return the message's bytes: the same for equal messages, in whatever order a client sent their
    parts."""
    return message.SerializeToString(deterministic=True)


def request_of(raw: bytes) -> pb.PredictRequest:
    """Return the message that was submitted. Raises: Corrupt."""
    return _parsed(pb.PredictRequest(), raw)


def failure_bytes(error: Error) -> bytes:
    """Return an error as a failed call carries it: google.rpc.Status with all its details."""
    return status_of(error).SerializeToString()


def result_of(outcome: Outcome) -> pb.GetPredictionResponse:
    """Return a prediction's state and result as the wire carries them. Raises: Corrupt."""
    result = pb.GetPredictionResponse(state=_STATES[outcome.state])
    if outcome.state is State.DONE:
        _parsed(result.response, outcome.body)
        result.response.SetInParent()
    elif outcome.state is State.FAILED:
        _parsed(result.error, outcome.body)
        result.error.SetInParent()
    return result


def failed_result(error: Error) -> pb.GetPredictionResponse:
    """Return what a watcher gets for a prediction of which there is no record, or none that can be read."""
    return result_of(Outcome(State.FAILED, failure_bytes(error)))


def _parsed(message: M, raw: bytes) -> M:
    try:
        message.MergeFromString(raw)
    except DecodeError as error:
        raise Corrupt(
            f"what is kept of a submitted prediction is no {message.DESCRIPTOR.full_name}"
        ) from error
    return message
