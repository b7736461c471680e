"""The synchronous client. Its async twin is `aio.py`; they share `_requests.py` and `_channel.py`."""

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
    """A connection to a gateway; may be used by many threads at once.

    Every call has a deadline: `timeout_s` of the call, else of the client. A failure is a `forebay.Error`.
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
        """Connect to `target` (HOST:PORT) when first used.

        `caller` names this program to the server; `criticality` says what to shed first under overload;
        `credentials` are those of TLS; `options` are gRPC's channel options, in place of ours.
        """
        channel_options = _channel.options(options)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, channel_options)
        else:
            self._channel = grpc.secure_channel(target, credentials, channel_options)
        self._timeout_s = timeout_s
        self._metadata = _channel.metadata(caller, criticality)
        self._calls = {
            method.path: self._channel.unary_unary(
                method.path, method.request.SerializeToString, method.response.FromString
            )
            for method in _channel.METHODS
        }
        self._shapes: dict[str, ViewShape] = {}

    def predict(
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
        """Return a pipeline's answer for an entity, its key fields and request features given by name.

        `inputs` are those whose names collide with an option. `candidates` are the key columns of entities to
        rank, for pipelines that take them. `return_features` ("view.feature") come back with each item.

        Units: `timeout_s` in seconds.
        Raises: InvalidRequest, NotFound, NotUsable, Overloaded, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip.
        """
        request = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        return _requests.answer(self._call(_channel.PREDICT, request, timeout_s))

    def features(
        self,
        features: Sequence[str],
        /,
        *,
        keys: Mapping[str, Any] | None = None,
        event_times: bool = False,
        timeout_s: float | None = None,
        **named: Any,
    ) -> FeatureTable:
        """Return features ("view.feature") of entities, a column per key field given by name.

        A missing entity is no error: its rows say NOT_FOUND.

        Raises: InvalidRequest, NotFound, Unavailable, DeadlineExceeded, Internal. Cost: one round trip.
        """
        request = _requests.read_features(features, keys, named, event_times)
        return _requests.feature_table(self._call(_channel.READ_FEATURES, request, timeout_s))

    def similar(
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
        """Return the `k` entities closest to a vector, or to an entity of the index given by its key.

        Scores are higher for what is closer, whatever the metric.

        Raises: InvalidRequest, NotFound, NotUsable, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip.
        """
        request = _requests.find_similar(index, vector, key, named, k)
        return _requests.neighbours(self._call(_channel.FIND_SIMILAR, request, timeout_s))

    def write(
        self,
        view: str,
        /,
        *,
        columns: Mapping[str, Any] | None = None,
        event_time: Any = None,
        timeout_s: float | None = None,
        **named: Any,
    ) -> list[Outcome]:
        """Write rows into a view that is written in place; return what became of each.

        Columns of key fields and features are given by name. A row replaces the entity's whole row: a feature
        that isn't given becomes null. `event_time` has a time per row (datetimes with a timezone, datetime64,
        or integer microseconds UTC); without it rows are of now. The newest event time wins, so writing the
        same rows again changes nothing; a row from the future stands until a later event time is written.

        Raises: InvalidRequest, NotFound, NotUsable, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip; another for the first write to a view, to learn its types.
        """
        shape = self._shapes.get(view)
        if shape is None or shape.unknown(columns or (), named):
            # What was unknown may have been applied since.
            shape = self._describe(view, timeout_s)
        request = _requests.write_features(shape, columns, named, event_time)
        try:
            response = self._call(_channel.WRITE_FEATURES, request, timeout_s)
        except (InvalidRequest, NotFound):
            # The view may have changed since it was described: the next write looks again.
            self._shapes.pop(view, None)
            raise
        return _requests.outcomes(response)

    def delete(
        self,
        entity: str,
        /,
        *,
        keys: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **named: Any,
    ) -> None:
        """Delete entities from all views of their type, a column per key field given by name.

        Raises: InvalidRequest, NotFound, Unavailable, DeadlineExceeded, Internal. Cost: one round trip.
        """
        self._call(_channel.DELETE_ENTITIES, _requests.delete_entities(entity, keys, named), timeout_s)

    def close(self) -> None:
        """Close the connection; calls under way end with Unavailable."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _describe(self, view: str, timeout_s: float | None) -> ViewShape:
        response = self._call(_channel.DESCRIBE_VIEW, DescribeViewRequest(view=view), timeout_s)
        shape = self._shapes[view] = ViewShape.of(response.view)
        return shape

    def _call(self, method: Method[Request, Response], request: Request, timeout_s: float | None) -> Response:
        timeout_s = _channel.started(self._timeout_s if timeout_s is None else timeout_s)
        try:
            response: Response = self._calls[method.path](request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error.code(), error.details(), error.trailing_metadata()) from error
        return response
