"""The synchronous client. Its async twin is `aio.py`; both use `_requests.py` and `_terms.py`. How a call is
made, and made again, is in `_calls.py`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from forebay import _requests
from forebay._addresses import Rotation, addresses
from forebay._calls import Calls
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
from forebay._stream import PredictStream
from forebay._terms import DEFAULT_TIMEOUT_S, Criticality, Defaults, Terms, timeout
from forebay.errors import Error, InvalidRequest, NotFound
from forebay.results import Answer, FeatureTable
from forebay.types import Outcomes
from forebay.v1.features_pb2 import DescribeViewRequest
from forebay.v1.prediction_pb2 import SubmitPredictionRequest


class Client:
    """A connection to a gateway; may be used by many threads at once.

    Every call has a deadline: `timeout_s` of the call, else of the client. A failure is a `forebay.Error`.
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
        """Connect to `target` when first used: HOST:PORT, several with commas between them, or a list.

        `caller` names this program to the server; `criticality` says what to shed first under overload.
        `retry` says how failed calls are made again, None not at all. With several addresses calls go to each
        in turn; after `hedge_after_s` without an answer, a read is also sent to another, for at most
        `hedge_share` of the calls. `credentials` are those of TLS; `options` are gRPC's channel options, in
        place of ours.

        Raises: InvalidRequest naming the argument.
        """
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
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> Answer:
        """Return a pipeline's answer for an entity, its key fields and request features given by name.

        `inputs` are those whose names collide with an option. `candidates` are the key columns of entities to
        rank, for pipelines that take them. `return_features` ("view.feature") come back with each item.

        Units: `timeout_s` in seconds.
        Raises: InvalidRequest, NotFound, NotUsable, Overloaded, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        return _requests.answer(self._calls.unary(PREDICT, request, terms))

    def features(
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
        """Return features ("view.feature") of entities, a column per key field given by name.

        A missing entity is no error: its rows say NOT_FOUND.

        Raises: InvalidRequest, NotFound, Unavailable, DeadlineExceeded, Internal. Cost: one round trip.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.read_features(features, keys, named, event_times)
        return _requests.feature_table(self._calls.unary(READ_FEATURES, request, terms), request)

    def similar(
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
        """Return the `k` entities closest to a vector, or to an entity of the index given by its key.

        Scores are higher for what is closer, whatever the metric.

        Raises: InvalidRequest, NotFound, NotUsable, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.find_similar(index, vector, key, named, k)
        return _requests.neighbours(self._calls.unary(FIND_SIMILAR, request, terms))

    def submit(
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
        """Have a prediction made later; return its id, for `result` and `watch`.

        Submitting the same `idempotency_key` again returns the first prediction's id; without one the call is
        never retried, for a second attempt could make a second prediction.

        Raises: InvalidRequest, NotFound, Overloaded, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        asked = _requests.predict(pipeline, inputs, named, top, return_features, candidates)
        request = SubmitPredictionRequest(request=asked, idempotency_key=idempotency_key)
        response = self._calls.unary(SUBMIT_ONCE if idempotency_key else SUBMIT, request, terms)
        return response.prediction_id

    def result(
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
        """Return a submitted prediction's answer, waiting for it up to `wait_s`.

        Units: `timeout_s` is what the call may take beyond the wait.
        Raises: Pending when it hasn't ended by then; the error with which the prediction failed, its metadata
        naming the `prediction_id`; NotFound when the id is unknown or expired; Unavailable, DeadlineExceeded.
        Cost: one round trip, and another for every 20 s of waiting.
        """
        until_s = time.monotonic() + timeout(wait_s)
        slack_s = self._defaults.timeout_s if timeout_s is None else timeout(timeout_s)
        terms = self._defaults.terms(max(0.0, wait_s) + slack_s, caller, criticality, trace)
        while True:
            request = get_request(prediction_id, until_s - time.monotonic())
            response = self._calls.unary(GET_PREDICTION, request, terms)
            if not is_pending(response) or time.monotonic() + SHORTEST_WAIT_S >= until_s:
                return answered(prediction_id, response)
            self._calls.pause(time.monotonic() + SHORTEST_WAIT_S)

    def watch(
        self,
        prediction_ids: Iterable[str],
        /,
        *,
        wait_s: float = 60.0,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
    ) -> Iterator[tuple[str, Answer | Error]]:
        """Return an iterator of (prediction id, answer or error), each as it ends.

        An error's metadata name the `prediction_id`; of an unknown or expired id it is NotFound.

        Raises: from the iterator, DeadlineExceeded when some haven't ended within `wait_s`; Unavailable.
        Cost: a stream that stays open, opened again every 20 s.
        """
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
        """Return a stream for many predictions, to be used in a `with` block.

        It keeps to one connection of one server, and costs that server less per prediction than calls do.
        `timeout_s` is each prediction's own where it gives none; at most `max_pending` are unanswered at any
        time. Nothing on it is retried or hedged.

        Raises: InvalidRequest; Unavailable when the client is closed.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        each_s = self._defaults.timeout_s if timeout_s is None else timeout_s
        return PredictStream(self._calls, terms.metadata, each_s, max_pending)

    def write(
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
        """Write rows into a view that is written in place; return what became of each.

        Columns of key fields and features are given by name. A row replaces the entity's whole row: a feature
        that isn't given becomes null. `event_time` has a time per row (datetimes with a timezone, datetime64,
        or integer microseconds UTC); without it rows are of now. The newest event time wins, so writing the
        same rows again changes nothing; a row from the future stands until a later event time is written.
        Where rows are INVALID, the outcomes' `problems` say which features make them so, and why.

        Raises: InvalidRequest, NotFound, NotUsable, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip; another for the first write to a view, to learn its types.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        shape = self._shapes.get(view)
        if shape is None or shape.unknown(columns or (), named):
            # What was unknown may have been applied since.
            shape = self._describe(view, terms)
        request = _requests.write_features(shape, columns, named, event_time)
        try:
            response = self._calls.unary(WRITE_FEATURES, request, terms)
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
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
        **named: Any,
    ) -> Outcomes:
        """Delete entities from all views of their type, a column per key field given by name.

        Returns an Outcome for each: APPLIED, nothing is left; OLDER, a row is that was written after the
        deletion was asked for, with a newer event time. Deleting what isn't there, or again, is fine; a call
        that failed may have deleted part. Late writes don't bring an entity back for as long as the server's
        setting `max_lateness_s` says; a write with a newer event time does, and so does the next refresh
        where the source still has the entity.

        Raises: InvalidRequest, NotFound, Overloaded, Unavailable, DeadlineExceeded, Internal.
        Cost: one round trip.
        """
        terms = self._defaults.terms(timeout_s, caller, criticality, trace)
        request = _requests.delete_entities(entity, keys, named)
        response = self._calls.unary(DELETE_ENTITIES, request, terms)
        return _requests.outcomes(response)

    def close(self) -> None:
        """Close the connection; calls under way end with Unavailable."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _describe(self, view: str, terms: Terms) -> ViewShape:
        response = self._calls.unary(DESCRIBE_VIEW, DescribeViewRequest(view=view), terms)
        shape = self._shapes[view] = ViewShape.of(response.view)
        return shape
