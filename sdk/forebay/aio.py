"""The asynchronous client, the twin of `client.py`, which says what each method does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from forebay import _requests
from forebay._addresses import Rotation, addresses
from forebay._aio_calls import Calls
from forebay._aio_stream import PredictStream
from forebay._channel import (
    DELETE_ENTITIES,
    DESCRIBE_VIEW,
    FIND_SIMILAR,
    GET_PREDICTION,
    PREDICT,
    READ_FEATURES,
    SUBMIT,
    SUBMIT_ONCE,
    WRITE_FEATURES,
)
from forebay._predictions import SHORTEST_WAIT_S, Watched, answered, get_request, is_pending
from forebay._requests import ViewShape
from forebay._retry import DEFAULT_RETRY, NO_RETRY, Counts, Policy, Retry
from forebay._terms import DEFAULT_TIMEOUT_S, Criticality, Defaults, Terms, timeout
from forebay.errors import Error, InvalidRequest, NotFound
from forebay.results import Answer, FeatureTable
from forebay.types import Outcomes
from forebay.v1.features_pb2 import DescribeViewRequest
from forebay.v1.prediction_pb2 import SubmitPredictionRequest

__all__ = ["Client", "PredictStream"]


class Client:
    """A connection to a gateway, used in the event loop in which it was made.

    Every call has a deadline: `timeout_s` of the call, else of the client. A failure is a `forebay.Error`.
    Cancelling the task that awaits a call cancels the call.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        caller: str = "",
        criticality: Criticality = "default",
        retry: Retry | None = DEFAULT_RETRY,
        hedge_after_s: float | None = None,
        hedge_share: float = 0.05,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Connect to `target` when first used; see `forebay.Client`."""
        given = addresses(target)
        policy = Policy(retry or NO_RETRY, Rotation(len(given)), hedge_after_s, hedge_share)
        self._policy = policy
        self._defaults = Defaults(timeout_s, caller, criticality)
        self._calls = Calls(given, policy, credentials, options)
        self._shapes: dict[str, ViewShape] = {}

    @property
    def counts(self) -> Counts:
        """How many calls this client has made so far, and how many attempts besides."""
        return self._policy.counts()

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
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> Answer:
        """Return a pipeline's answer for an entity; see `forebay.Client.predict`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        return _requests.answer(await self._calls.unary(PREDICT, request, terms))

    async def features(
        self,
        features: Sequence[str],
        /,
        *,
        keys: Mapping[str, Any] | None = None,
        event_times: bool = False,
        timeout_s: float | None = None,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> FeatureTable:
        """Return features of entities; see `forebay.Client.features`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.read_features(features, keys, named, event_times)
        return _requests.feature_table(await self._calls.unary(READ_FEATURES, request, terms), request)

    async def similar(
        self,
        index: str,
        /,
        *,
        vector: Any = None,
        key: Mapping[str, Any] | None = None,
        k: int = 10,
        timeout_s: float | None = None,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> Answer:
        """Return the `k` closest entities; see `forebay.Client.similar`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.find_similar(index, vector, key, named, k)
        return _requests.neighbours(await self._calls.unary(FIND_SIMILAR, request, terms))

    async def submit(
        self,
        pipeline: str,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        top: int | None = None,
        return_features: Sequence[str] = (),
        candidates: Mapping[str, Any] | None = None,
        idempotency_key: str = "",
        timeout_s: float | None = None,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> str:
        """Have a prediction made later; see `forebay.Client.submit`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        asked = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        request = SubmitPredictionRequest(request=asked, idempotency_key=idempotency_key)
        response = await self._calls.unary(SUBMIT_ONCE if idempotency_key else SUBMIT, request, terms)
        return response.prediction_id

    async def result(
        self,
        prediction_id: str,
        /,
        *,
        wait_s: float = 0.0,
        timeout_s: float | None = None,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
    ) -> Answer:
        """Return a submitted prediction's answer; see `forebay.Client.result`."""
        until_s = time.monotonic() + timeout(wait_s)
        slack_s = self._defaults.timeout_s if timeout_s is None else timeout(timeout_s)
        terms = self._defaults.terms(max(0.0, wait_s) + slack_s, caller, criticality, trace)
        while True:
            request = get_request(prediction_id, until_s - time.monotonic())
            response = await self._calls.unary(GET_PREDICTION, request, terms)
            if not is_pending(response) or time.monotonic() + SHORTEST_WAIT_S >= until_s:
                return answered(prediction_id, response)
            await asyncio.sleep(SHORTEST_WAIT_S)

    def watch(
        self,
        prediction_ids: Iterable[str],
        /,
        *,
        wait_s: float = 60.0,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
    ) -> AsyncIterator[tuple[str, Answer | Error]]:
        """Return an iterator of (prediction id, answer or error); see `forebay.Client.watch`."""
        watched = Watched(prediction_ids)
        return self._calls.watch(watched, self._defaults.terms(wait_s, caller, criticality, trace))

    def stream(
        self,
        *,
        timeout_s: float | None = None,
        max_pending: int = 64,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
    ) -> PredictStream:
        """Return a stream, to be used in an `async with` block; see `forebay.Client.stream`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        each_s = self._defaults.timeout_s if timeout_s is None else timeout_s
        return PredictStream(self._calls, terms.metadata, each_s, max_pending)

    async def write(
        self,
        view: str,
        /,
        *,
        columns: Mapping[str, Any] | None = None,
        event_time: Any = None,
        timeout_s: float | None = None,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> Outcomes:
        """Write rows into a view; see `forebay.Client.write`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        shape = self._shapes.get(view)
        if shape is None or shape.unknown(columns or (), named):
            # What was unknown may have been applied since.
            shape = await self._describe(view, terms)
        request = _requests.write_features(shape, columns, named, event_time)
        try:
            response = await self._calls.unary(WRITE_FEATURES, request, terms)
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
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> Outcomes:
        """Delete entities; see `forebay.Client.delete`."""
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.delete_entities(entity, keys, named)
        response = await self._calls.unary(DELETE_ENTITIES, request, terms)
        return _requests.outcomes(response)

    async def close(self) -> None:
        """Close the connection; calls under way end with Unavailable."""
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _describe(self, view: str, terms: Terms) -> ViewShape:
        response = await self._calls.unary(DESCRIBE_VIEW, DescribeViewRequest(view=view), terms)
        shape = self._shapes[view] = ViewShape.of(response.view)
        return shape
