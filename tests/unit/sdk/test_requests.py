"""Requests from a client's arguments."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from forebay import _requests
from forebay._dtypes import DType
from forebay._requests import ViewShape
from forebay.errors import InvalidRequest, NotFound
from forebay.types import Status
from forebay.v1 import features_pb2
from forebay.v1 import values_pb2 as pb

TASTE = ViewShape("user_taste", {"mean_rating": DType.parse("float32"), "seen": DType.parse("int64[]")})


def test_inputs_are_joined_when_some_are_named_and_some_are_not() -> None:
    request = _requests.predict(
        "p", {"top": 3}, {"user_id": 42, "hour": 21.0}, 10, ["v.title"], {"movie_id": [1]}
    )
    assert request.inputs["top"].int64_value == 3
    assert request.inputs["user_id"].int64_value == 42
    assert request.inputs["hour"].double_value == 21.0
    assert (request.top, list(request.return_features)) == (10, ["v.title"])
    assert request.candidates[0].name == "movie_id"
    assert not _requests.predict("p", None, {}, None, [], None).HasField("top")


def test_input_is_refused_when_it_is_given_twice() -> None:
    with pytest.raises(InvalidRequest, match=r"inputs\.hour: given twice"):
        _requests.predict("p", {"hour": 1}, {"hour": 2}, None, [], None)


def test_similar_needs_exactly_one_of_vector_and_key() -> None:
    assert _requests.find_similar("movies", None, None, {"movie_id": 1}, 5).key["movie_id"].int64_value == 1
    assert list(_requests.find_similar("movies", [1.0, 2.0], None, {}, 5).vector.shape) == [2]
    for vector, key in ((None, {}), ([1.0], {"movie_id": 1})):
        with pytest.raises(InvalidRequest):
            _requests.find_similar("movies", vector, None, key, 5)


def test_columns_are_keys_when_the_view_has_no_such_feature() -> None:
    named = {"user_id": [42, 43], "seen": [[1], []], "mean_rating": [4, None]}
    times = [datetime(2026, 1, 1, tzinfo=UTC), 1_700_000_000_000_000]
    request = _requests.write_features(TASTE, None, named, times)
    assert [column.name for column in request.keys] == ["user_id"]
    assert [column.name for column in request.features] == ["mean_rating", "seen"]
    assert request.features[0].values.dtype == pb.DTYPE_FLOAT32
    assert request.features[0].statuses == bytes([Status.PRESENT, Status.NULL])
    assert list(request.features[1].values.offsets) == [0, 1, 1]
    assert request.event_times_us.dtype == pb.DTYPE_TIMESTAMP
    assert list(request.event_times_us.shape) == [2]


def test_column_is_unknown_when_it_is_neither_a_feature_nor_of_the_key() -> None:
    message = features_pb2.View(
        name="live",
        features=[features_pb2.ViewFeature(name="clicks", dtype="int64")],
        key=[features_pb2.ViewFeature(name="item_id", dtype="int64")],
    )
    shape = ViewShape.of(message)
    assert shape.unknown({"item_id": 1}, {"clicks": 1, "zzz": 2}) == ["zzz"]
    with pytest.raises(NotFound, match="view live has no feature zzz; it has clicks") as caught:
        _requests.write_features(shape, None, {"item_id": 1, "zzz": 2}, None)
    assert caught.value.field == "columns.zzz"
    del message.key[:]
    assert ViewShape.of(message).unknown({"zzz": 2}) == []


def test_event_time_may_be_single_when_one_row_is_written() -> None:
    request = _requests.write_features(
        TASTE, None, {"user_id": 42, "mean_rating": 4.1}, 1_700_000_000_000_000
    )
    assert list(request.event_times_us.shape) == [1]
    assert not _requests.write_features(TASTE, None, {"user_id": 42}, None).HasField("event_times_us")


@pytest.mark.parametrize(
    ("named", "event_time"),
    [
        ({"user_id": [1, 2], "mean_rating": [4.0]}, None),
        ({"user_id": [1, 2], "other_id": [1]}, None),
        ({"user_id": [1, 2]}, 5),
        ({"user_id": [1]}, [None]),
    ],
)
def test_write_is_refused_when_columns_differ_in_length(named: dict[str, object], event_time: object) -> None:
    with pytest.raises(InvalidRequest):
        _requests.write_features(TASTE, None, named, event_time)
