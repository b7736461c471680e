"""Requests from the client's arguments and results from responses: what the sync and the async client share.
Nothing here talks to a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forebay import _pack
from forebay._dtypes import TIMESTAMP, DType
from forebay._status import error_in
from forebay.errors import Error, InvalidRequest, NotFound
from forebay.results import Answer, FeatureTable
from forebay.types import Outcome, Outcomes, WriteProblem
from forebay.v1 import features_pb2, prediction_pb2, similarity_pb2
from forebay.v1.values_pb2 import Column


def predict(
    pipeline: str,
    inputs: Mapping[str, Any] | None,
    named: Mapping[str, Any],
    top: int | None,
    return_features: Sequence[str],
    candidates: Mapping[str, Any] | None,
) -> prediction_pb2.PredictRequest:
    """Return the request. `inputs` are those whose names collide with an option; the rest are `named`."""
    given = merged(inputs, named, "inputs")
    request = prediction_pb2.PredictRequest(
        pipeline=pipeline,
        inputs={name: _pack.value(value, f"inputs.{name}") for name, value in given.items()},
        candidates=_columns(candidates or {}, "candidates"),
        return_features=return_features,
    )
    if top is not None:
        request.top = top
    return request


def answer(response: prediction_pb2.PredictResponse) -> Answer:
    """Return the response as a sequence of items."""
    return Answer(
        response.entities, response.scores, response.features, response.degradations, response.provenance
    )


def streamed(message: prediction_pb2.StreamPredictResponse) -> Answer | Error:
    """Return what a message of a stream answers."""
    return error_in(message.error) if message.HasField("error") else answer(message.response)


def read_features(
    features: Sequence[str],
    keys: Mapping[str, Any] | None,
    named: Mapping[str, Any],
    event_times: bool,
) -> features_pb2.ReadFeaturesRequest:
    """Return the request; a column per key field."""
    columns = _columns(merged(keys, named, "keys"), "keys")
    return features_pb2.ReadFeaturesRequest(features=features, keys=columns, event_times=event_times)


def feature_table(
    response: features_pb2.ReadFeaturesResponse, request: features_pb2.ReadFeaturesRequest
) -> FeatureTable:
    """Return the response as a table, with the keys that were asked for."""
    return FeatureTable(response.columns, request.keys)


def find_similar(
    index: str, vector: Any, key: Mapping[str, Any] | None, named: Mapping[str, Any], k: int
) -> similarity_pb2.FindSimilarRequest:
    """Return the request. Raises: InvalidRequest unless exactly one of vector and key is given."""
    given = merged(key, named, "key")
    if (vector is None) == (not given):
        raise InvalidRequest("give either a vector or the key of an entity in the index", field="vector")
    if vector is not None:
        return similarity_pb2.FindSimilarRequest(index=index, vector=_pack.vector(vector, "vector"), k=k)
    values = {name: _pack.value(value, f"key.{name}") for name, value in given.items()}
    return similarity_pb2.FindSimilarRequest(index=index, key=values, k=k)


def neighbours(response: similarity_pb2.FindSimilarResponse) -> Answer:
    """Return the response as a sequence of items, each with one score."""
    return Answer(response.entities, [response.scores], (), (), response.provenance)


def delete_entities(
    entity: str, keys: Mapping[str, Any] | None, named: Mapping[str, Any]
) -> features_pb2.DeleteEntitiesRequest:
    """Return the request; a column per key field."""
    columns = _columns(merged(keys, named, "keys"), "keys")
    return features_pb2.DeleteEntitiesRequest(entity=entity, keys=columns)


@dataclass(frozen=True, slots=True)
class ViewShape:
    """What writing needs to know of a view: its features' types, and its key's fields.

    A server that doesn't tell the key yet leaves it empty: then whatever is no feature is taken for a key.
    """

    name: str
    dtypes: Mapping[str, DType]
    key: tuple[str, ...] = ()

    @classmethod
    def of(cls, view: features_pb2.View) -> ViewShape:
        dtypes = {feature.name: DType.parse(feature.dtype) for feature in view.features}
        return cls(view.name, dtypes, tuple(field.name for field in view.key))

    def unknown(self, *columns: Iterable[str]) -> list[str]:
        """Return the names among `columns` that are neither a feature nor of the key."""
        if not self.key:
            return []
        return [
            name for names in columns for name in names if name not in self.dtypes and name not in self.key
        ]


def write_features(
    shape: ViewShape, columns: Mapping[str, Any] | None, named: Mapping[str, Any], event_time: Any
) -> features_pb2.WriteFeaturesRequest:
    """Return the request, features packed as the view's types say.

    Raises: NotFound for a column that the view doesn't have; InvalidRequest, where a value doesn't have its
    feature's type, or the number of rows differs.
    """
    given = merged(columns, named, "columns")
    for name in shape.unknown(given):
        known = ", ".join(shape.dtypes)
        raise NotFound(f"view {shape.name} has no feature {name}; it has {known}", field=f"columns.{name}")
    keys = {name: values for name, values in given.items() if name not in shape.dtypes}
    features = [
        _pack.column(name, given[name], dtype, f"features.{name}")
        for name, dtype in shape.dtypes.items()
        if name in given
    ]
    request = features_pb2.WriteFeaturesRequest(
        view=shape.name, keys=_columns(keys, "keys"), features=features
    )
    count = _row_count([*request.keys, *request.features])
    if event_time is not None:
        column = _pack.column("event_time", event_time, DType(TIMESTAMP), "event_time")
        if column.statuses or column.values.shape[0] != count:
            raise InvalidRequest(f"event_time: needs a time for each of {count} rows", field="event_time")
        request.event_times_us.CopyFrom(column.values)
    return request


def outcomes(
    response: features_pb2.WriteFeaturesResponse | features_pb2.DeleteEntitiesResponse,
) -> Outcomes:
    """Return what became of each row; nothing from a server that is too old to say."""
    found = Outcomes(Outcome(outcome) for outcome in response.outcomes)
    if isinstance(response, features_pb2.WriteFeaturesResponse):
        found.problems = tuple(
            WriteProblem(problem.field, problem.row_count, problem.rule) for problem in response.problems
        )
    return found


def merged(given: Mapping[str, Any] | None, named: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return both together. Raises: InvalidRequest for a name in both."""
    twice = sorted(set(given or ()) & set(named))
    if twice:
        raise InvalidRequest(f"{field}.{twice[0]}: given twice", field=f"{field}.{twice[0]}")
    return {**(given or {}), **named}


def _columns(given: Mapping[str, Any], field: str) -> list[Column]:
    columns = [_pack.column(name, values, None, f"{field}.{name}") for name, values in given.items()]
    _row_count(columns)
    return columns


def _row_count(columns: Sequence[Column]) -> int:
    counts = {column.values.shape[0] for column in columns}
    if len(counts) > 1:
        lengths = ", ".join(f"{column.name} {column.values.shape[0]}" for column in columns)
        raise InvalidRequest(f"columns differ in length: {lengths}", field=columns[0].name)
    return counts.pop() if counts else 0
