"""The asynchronous client, the twin of `client.py`, which says what each method does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from forebay import _channel, _requests
from forebay._channel import Criticality, Method, Request, Response
from forebay._requests import ViewShape
from forebay._status import error_of
from forebay.errors import InvalidRequest, NotFound
from forebay.results import Answer, FeatureTable
from forebay.types import Outcome
from forebay.v1.features_pb2 import DescribeViewRequest


class Client:
    """A connection to a gateway, used in the event loop in which it was made.

    Every call has a deadline: `timeout_s` of the call, else of the client. A failure is a `forebay.Error`.
    Cancelling the task that awaits a call cancels the call.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = _channel.DEFAULT_TIMEOUT_S,
        caller: str = "",
        criticality: Criticality = "default",
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Connect to `target` (HOST:PORT) when first used; see `forebay.Client`."""
        channel_options = _channel.options(options)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, channel_options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, channel_options)
        self._timeout_s = timeout_s
        self._metadata = _channel.metadata(caller, criticality)
        self._calls = {
            method.path: self._channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
            for method in _channel.METHODS
        }
        self._shapes: dict[str, ViewShape] = {}

    async def predict(
        self,
        pipeline: str,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        top: int | None = None,
        return_features: Sequence[str] = (),
        candidates: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **named: Any,
    ) -> Answer:
        """Return a pipeline's answer for an entity; see `forebay.Client.predict`."""
        request = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        return _requests.answer(await self._call(_channel.PREDICT, request, timeout_s))

    async def features(
        self,
        features: Sequence[str],
        /,
        *,
        keys: Mapping[str, Any] | None = None,
        event_times: bool = False,
        timeout_s: float | None = None,
        **named: Any,
    ) -> FeatureTable:
        """Return features of entities; see `forebay.Client.features`."""
        request = _requests.read_features(features, keys, named, event_times)
        return _requests.feature_table(await self._call(_channel.READ_FEATURES, request, timeout_s))

    async def similar(
        self,
        index: str,
        /,
        *,
        vector: Any = None,
        key: Mapping[str, Any] | None = None,
        k: int = 10,
        timeout_s: float | None = None,
        **named: Any,
    ) -> Answer:
        """Return the `k` closest entities; see `forebay.Client.similar`."""
        request = _requests.find_similar(index, vector, key, named, k)
        return _requests.neighbours(await self._call(_channel.FIND_SIMILAR, request, timeout_s))

    async def write(
        self,
        view: str,
        /,
        *,
        columns: Mapping[str, Any] | None = None,
        event_time: Any = None,
        timeout_s: float | None = None,
        **named: Any,
    ) -> list[Outcome]:
        """Write rows into a view; see `forebay.Client.write`."""
        shape = self._shapes.get(view)
        if shape is None or shape.unknown(columns or (), named):
            # What was unknown may have been applied since.
            shape = await self._describe(view, timeout_s)
        request = _requests.write_features(shape, columns, named, event_time)
        try:
            response = await self._call(_channel.WRITE_FEATURES, request, timeout_s)
        except (InvalidRequest, NotFound):
            # The view may have changed since it was described: the next write looks again.
            self._shapes.pop(view, None)
            raise
        return _requests.outcomes(response)

    async def delete(
        self,
        entity: str,
        /,
        *,
        keys: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **named: Any,
    ) -> None:
        """Delete entities; see `forebay.Client.delete`."""
        await self._call(_channel.DELETE_ENTITIES, _requests.delete_entities(entity, keys, named), timeout_s)

    async def close(self) -> None:
        """Close the connection; calls under way end with Unavailable."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _describe(self, view: str, timeout_s: float | None) -> ViewShape:
        response = await self._call(_channel.DESCRIBE_VIEW, DescribeViewRequest(view=view), timeout_s)
        shape = self._shapes[view] = ViewShape.of(response.view)
        return shape

    async def _call(
        self, method: Method[Request, Response], request: Request, timeout_s: float | None
    ) -> Response:
        timeout_s = _channel.started(self._timeout_s if timeout_s is None else timeout_s)
        call = self._calls[method.path](request, timeout=timeout_s, metadata=self._metadata)
        try:
            response: Response = await call
        except grpc.aio.AioRpcError as error:
            raise error_of(error.code(), error.details(), error.trailing_metadata()) from error
        finally:
            # Does nothing to a call that has ended; one left behind would never be collected (grpc#43462).
            call.cancel()
        return response
