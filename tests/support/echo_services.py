"""Small servicers on a real loopback server, for tests of the layers around a servicer and of the SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from forebay.errors import Error, NotFound
from forebay.v1 import features_pb2, prediction_pb2, similarity_pb2, values_pb2
from google.protobuf.descriptor import ServiceDescriptor

from runtime.clock import SystemClock
from runtime.recent import RecentRequests
from runtime.rpc.call import Call
from runtime.rpc.server import RpcServer
from runtime.settings import ServerSettings

PREDICTION = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"]
FEATURES = features_pb2.DESCRIPTOR.services_by_name["FeatureService"]
SIMILARITY = similarity_pb2.DESCRIPTOR.services_by_name["SimilarityService"]

Predict = Callable[[prediction_pb2.PredictRequest, Call], Awaitable[prediction_pb2.PredictResponse]]


class ScriptedPrediction:
    """Answers Predict by the function that the test gives; keeps the requests."""

    def __init__(self, predict: Predict) -> None:
        self.requests: list[prediction_pb2.PredictRequest] = []
        self._predict = predict

    async def Predict(self, request: prediction_pb2.PredictRequest, call: Call) -> Any:  # noqa: N802
        self.requests.append(request)
        return await self._predict(request, call)


class ScriptedFeatures:
    """Answers with what the test put there, or refuses to write; keeps the requests."""

    def __init__(
        self, *, view: features_pb2.View | None = None, columns: list[values_pb2.Column] | None = None
    ) -> None:
        self.view = view
        self.columns = columns or []
        self.outcomes = b""
        self.refusal: Error | None = None
        self.requests: list[Any] = []

    async def ReadFeatures(self, request: Any, call: Call) -> Any:  # noqa: N802
        self.requests.append(request)
        return features_pb2.ReadFeaturesResponse(columns=self.columns)

    async def WriteFeatures(self, request: Any, call: Call) -> Any:  # noqa: N802
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        return features_pb2.WriteFeaturesResponse(outcomes=self.outcomes)

    async def DeleteEntities(self, request: Any, call: Call) -> Any:  # noqa: N802
        self.requests.append(request)
        return features_pb2.DeleteEntitiesResponse(outcomes=self.outcomes)

    async def DescribeView(self, request: Any, call: Call) -> Any:  # noqa: N802
        self.requests.append(request)
        if self.view is None or request.view != self.view.name:
            raise NotFound(f"no view {request.view}", field="view")
        return features_pb2.DescribeViewResponse(view=self.view)


class ScriptedSimilarity:
    """Answers with what the test put there; keeps the requests."""

    def __init__(self, response: similarity_pb2.FindSimilarResponse) -> None:
        self.response = response
        self.requests: list[similarity_pb2.FindSimilarRequest] = []

    async def FindSimilar(self, request: similarity_pb2.FindSimilarRequest, call: Call) -> Any:  # noqa: N802
        self.requests.append(request)
        return self.response


@asynccontextmanager
async def serving(
    *services: tuple[ServiceDescriptor, object],
    settings: ServerSettings | None = None,
    recent: RecentRequests | None = None,
    port: int = 0,
) -> AsyncIterator[str]:
    """A server of these services on a loopback port, a free one where none is named; yields its address."""
    server = RpcServer(
        f"127.0.0.1:{port}", settings or ServerSettings(), SystemClock(), recent or RecentRequests(16)
    )
    for descriptor, servicer in services:
        server.add(descriptor, servicer)
    address = await server.start()
    try:
        yield address
    finally:
        await server.aclose()
