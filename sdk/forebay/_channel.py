"""What the sync and the async client tell gRPC: channel options, methods. What a call says of itself is in
`_terms.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, TypeVar

from forebay.v1 import features_pb2, prediction_pb2, similarity_pb2
from google.protobuf.message import Message

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Pings also between calls, so that a connection that a middlebox dropped is noticed before the next one;
    # not more often than forebay's servers take it (server.keepalive_min_interval_s).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own wait up to 20 s for a connection and up to 2 minutes before the next try: too long to notice
    # that a server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # gRPC's transparent retries: of calls that no server has looked at, whatever they are. All others are
    # ours, in `_retry.py`: no service config may add more.
    ("grpc.enable_retries", 1),
    ("grpc.service_config_disable_resolution", 1),
    # gRPC's 4 MiB is 10,000 rows of 100 float32 features.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Repeats(Enum):
    """How often a method may be called for one answer."""

    NEVER = 1
    """Once: it may have been done although no answer came."""
    RETRY = 2
    """Again after a failure."""
    HEDGE = 3
    """Again after a failure, or while the first call is still under way."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """A method's path, its messages' classes, and whether it may be repeated."""

    path: str
    request: type[Request]
    response: type[Response]
    repeats: Repeats


PREDICT = Method(
    "/forebay.v1.PredictionService/Predict",
    prediction_pb2.PredictRequest,
    prediction_pb2.PredictResponse,
    Repeats.HEDGE,
)
STREAM_PREDICT = Method(
    "/forebay.v1.PredictionService/StreamPredict",
    prediction_pb2.StreamPredictRequest,
    prediction_pb2.StreamPredictResponse,
    Repeats.NEVER,
)
SUBMIT = Method(
    "/forebay.v1.PredictionService/SubmitPrediction",
    prediction_pb2.SubmitPredictionRequest,
    prediction_pb2.SubmitPredictionResponse,
    Repeats.NEVER,
)
SUBMIT_ONCE = replace(SUBMIT, repeats=Repeats.RETRY)
"""With an idempotency key: however often it is called, there is one prediction."""
GET_PREDICTION = Method(
    "/forebay.v1.PredictionService/GetPrediction",
    prediction_pb2.GetPredictionRequest,
    prediction_pb2.GetPredictionResponse,
    Repeats.RETRY,
)
WATCH_PREDICTION = Method(
    "/forebay.v1.PredictionService/WatchPrediction",
    prediction_pb2.WatchPredictionRequest,
    prediction_pb2.WatchPredictionResponse,
    Repeats.RETRY,
)
READ_FEATURES = Method(
    "/forebay.v1.FeatureService/ReadFeatures",
    features_pb2.ReadFeaturesRequest,
    features_pb2.ReadFeaturesResponse,
    Repeats.HEDGE,
)
WRITE_FEATURES = Method(
    "/forebay.v1.FeatureService/WriteFeatures",
    features_pb2.WriteFeaturesRequest,
    features_pb2.WriteFeaturesResponse,
    Repeats.NEVER,
)
DELETE_ENTITIES = Method(
    "/forebay.v1.FeatureService/DeleteEntities",
    features_pb2.DeleteEntitiesRequest,
    features_pb2.DeleteEntitiesResponse,
    Repeats.NEVER,
)
DESCRIBE_VIEW = Method(
    "/forebay.v1.FeatureService/DescribeView",
    features_pb2.DescribeViewRequest,
    features_pb2.DescribeViewResponse,
    Repeats.RETRY,
)
FIND_SIMILAR = Method(
    "/forebay.v1.SimilarityService/FindSimilar",
    similarity_pb2.FindSimilarRequest,
    similarity_pb2.FindSimilarResponse,
    Repeats.HEDGE,
)
UNARY: tuple[Method[Any, Any], ...] = (
    PREDICT,
    SUBMIT,
    GET_PREDICTION,
    READ_FEATURES,
    WRITE_FEATURES,
    DELETE_ENTITIES,
    DESCRIBE_VIEW,
    FIND_SIMILAR,
)


def options(given: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return our channel options, those given by the user in place of ours."""
    return list({**dict(CHANNEL_OPTIONS), **dict(given)}.items())
