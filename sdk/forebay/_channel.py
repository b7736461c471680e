"""What the sync and the async client tell gRPC: channel options, metadata, methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from forebay.errors import DeadlineExceeded
from forebay.v1 import features_pb2, prediction_pb2, similarity_pb2
from google.protobuf.message import Message

Criticality = Literal["critical", "default", "sheddable"]

DEFAULT_TIMEOUT_S = 1.0

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Pings also between calls, so that a connection that a middlebox dropped is noticed before the next one;
    # not more often than forebay's servers take it (server.keepalive_min_interval_s).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's 4 MiB is 10,000 rows of 100 float32 features.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """A method's path and its messages' classes."""

    path: str
    request: type[Request]
    response: type[Response]


PREDICT = Method(
    "/forebay.v1.PredictionService/Predict", prediction_pb2.PredictRequest, prediction_pb2.PredictResponse
)
READ_FEATURES = Method(
    "/forebay.v1.FeatureService/ReadFeatures",
    features_pb2.ReadFeaturesRequest,
    features_pb2.ReadFeaturesResponse,
)
WRITE_FEATURES = Method(
    "/forebay.v1.FeatureService/WriteFeatures",
    features_pb2.WriteFeaturesRequest,
    features_pb2.WriteFeaturesResponse,
)
DELETE_ENTITIES = Method(
    "/forebay.v1.FeatureService/DeleteEntities",
    features_pb2.DeleteEntitiesRequest,
    features_pb2.DeleteEntitiesResponse,
)
DESCRIBE_VIEW = Method(
    "/forebay.v1.FeatureService/DescribeView",
    features_pb2.DescribeViewRequest,
    features_pb2.DescribeViewResponse,
)
FIND_SIMILAR = Method(
    "/forebay.v1.SimilarityService/FindSimilar",
    similarity_pb2.FindSimilarRequest,
    similarity_pb2.FindSimilarResponse,
)
METHODS: tuple[Method[Any, Any], ...] = (
    PREDICT,
    READ_FEATURES,
    WRITE_FEATURES,
    DELETE_ENTITIES,
    DESCRIBE_VIEW,
    FIND_SIMILAR,
)


def metadata(caller: str, criticality: Criticality) -> tuple[tuple[str, str], ...]:
    """Return what every call of a client says about its caller."""
    given = [("forebay-criticality", criticality)] if criticality != "default" else []
    return tuple(given + ([("forebay-caller", caller)] if caller else []))


def options(given: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return our channel options, those given by the user in place of ours."""
    return list({**dict(CHANNEL_OPTIONS), **dict(given)}.items())


def started(timeout_s: float) -> float:
    """Return the timeout that gRPC is given.

    Raises: DeadlineExceeded where no time is left; gRPC itself would make the call.
    """
    if timeout_s <= 0:
        raise DeadlineExceeded("no time was left when the call was made")
    return timeout_s
