import time

import forebay
import numpy as np
import pytest
from forebay import Outcome, Status

from tests.support.tiny_application import tiny_data

PRESENT, NULL, NOT_FOUND, DEFAULTED = Status.PRESENT, Status.NULL, Status.NOT_FOUND, Status.DEFAULTED


def test_values_and_statuses_are_right_for_present_null_and_missing_rows(client: forebay.Client) -> None:
    data = tiny_data()
    table = client.features(
        ["item_profile.price", "item_profile.stock", "item_profile.title", "item_profile.vector"],
        item_id=[100, 103, 999],
    )
    prices = table.values("item_profile.price")
    np.testing.assert_array_equal(prices[:2], data.prices[[0, 3]])
    assert np.isnan(prices[2])
    assert list(table.statuses("item_profile.price")) == [PRESENT, PRESENT, NOT_FOUND]
    assert list(table.values("item_profile.stock")) == [0, 7, 7]
    assert list(table.statuses("item_profile.stock")) == [PRESENT, DEFAULTED, DEFAULTED]
    assert list(table.values("item_profile.title")) == ["item 100 ü", "item 103 ü", None]
    assert list(table.statuses("item_profile.title")) == [PRESENT, PRESENT, NOT_FOUND]
    np.testing.assert_array_equal(table.values("item_profile.vector")[1], data.vectors[3])


def test_columns_come_in_the_order_asked_for(client: forebay.Client) -> None:
    names = ["item_profile.title", "item_now.clicks", "item_profile.price"]
    assert list(client.features(names, item_id=[100]).names) == names


def test_variable_lists_come_back_whole(client: forebay.Client) -> None:
    lists = client.features(["user_profile.seen"], user_id=[2, 1, 999]).values("user_profile.seen")
    assert [None if row is None else list(row) for row in lists] == [[101, 102], [], None]


def test_no_rows_are_asked_for_and_none_come(client: forebay.Client) -> None:
    assert len(client.features(["item_profile.price"], item_id=[]).values("item_profile.price")) == 0


def test_the_newest_event_wins_when_rows_are_written(client: forebay.Client) -> None:
    now_us = time.time_ns() // 1000
    first = client.write(
        "item_now", item_id=[150, 151], event_time=[now_us, now_us], clicks=[5, 6], rate=[0.5, 0.6]
    )
    older = client.write("item_now", item_id=[150, 151], event_time=[now_us - 1, now_us + 1], clicks=[1, 9])
    table = client.features(["item_now.clicks", "item_now.rate"], item_id=[150, 151], event_times=True)
    assert list(first) == [Outcome.APPLIED, Outcome.APPLIED]
    assert list(older) == [Outcome.OLDER, Outcome.APPLIED]
    assert list(table.values("item_now.clicks")) == [5, 9]
    assert list(table.statuses("item_now.rate")) == [PRESENT, NULL]
    times = np.array(table.event_times("item_now.clicks"), "datetime64[us]").astype(np.int64)
    assert times.tolist() == [now_us, now_us + 1]


def test_a_written_row_replaces_the_whole_row(client: forebay.Client) -> None:
    client.write("item_now", item_id=[153], clicks=[5], rate=[0.5])
    client.write("item_now", item_id=[153], clicks=[6])
    table = client.features(["item_now.clicks", "item_now.rate"], item_id=[153])
    assert list(table.values("item_now.clicks")) == [6]
    assert list(table.statuses("item_now.rate")) == [NULL]


def test_a_row_from_the_future_stands_when_a_present_one_is_written(client: forebay.Client) -> None:
    future_us = time.time_ns() // 1000 + 365 * 86_400_000_000
    client.write("item_now", item_id=[154], event_time=[future_us], clicks=[5])
    assert list(client.write("item_now", item_id=[154], clicks=[6])) == [Outcome.OLDER]


def test_a_prediction_sees_what_was_written(client: forebay.Client) -> None:
    before = client.predict("rate_items", user_id=3, candidates={"item_id": [130]})[0].scores["score"]
    client.write("item_now", item_id=[130], clicks=[1000], rate=[1.0])
    after = client.predict("rate_items", user_id=3, candidates={"item_id": [130]})
    assert after[0].scores["score"] == pytest.approx(before + 250, rel=1e-5)
    assert list(after.degradations) == []


@pytest.mark.parametrize(
    ("features", "keys", "error", "text"),
    [
        (["nowhere.price"], {"item_id": [1]}, forebay.NotFound, "^features: 'nowhere': .*item_profile"),
        (["item_profile.nothing"], {"item_id": [1]}, forebay.NotFound, "nothing"),
        (["price"], {"item_id": [1]}, forebay.InvalidRequest, "view.feature"),
        ([], {"item_id": [1]}, forebay.InvalidRequest, "features"),
        (["item_profile.price"], {"user_id": [1]}, forebay.InvalidRequest, "item_id"),
        (["item_profile.price"], {"item_id": [1.5]}, forebay.InvalidRequest, r"field keys\.item_id"),
        (["item_profile.price"], {"item_id": ["x"]}, forebay.InvalidRequest, "item_id"),
        (["item_profile.price", "user_profile.age"], {"item_id": [1]}, forebay.InvalidRequest, "keys"),
        (["item_profile.price"], {"item_id": list(range(10_001))}, forebay.InvalidRequest, "10000"),
    ],
)
def test_a_wrong_read_is_refused(
    client: forebay.Client,
    features: list[str],
    keys: dict[str, object],
    error: type[forebay.Error],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        client.features(features, **keys)


@pytest.mark.parametrize(
    ("view", "columns", "error", "text"),
    [
        ("nowhere", {"item_id": [1], "clicks": [1]}, forebay.NotFound, "item_profile"),
        ("item_profile", {"item_id": [1], "price": [1.0]}, forebay.NotUsable, "item_profile"),
        ("item_now", {"item_id": [1], "clicks": [1.5]}, forebay.InvalidRequest, "clicks"),
        ("item_now", {"item_id": [1, 2], "clicks": [1]}, forebay.InvalidRequest, "clicks"),
        ("item_now", {"clicks": [1]}, forebay.InvalidRequest, "item_id"),
        ("item_now", {"item_id": [1], "clocks": [1]}, forebay.NotFound, "item_now has no feature clocks"),
        (
            "item_now",
            {"item_id": [1, None], "clicks": [1, 2]},
            forebay.InvalidRequest,
            r"keys\.item_id: row 1",
        ),
    ],
)
def test_a_wrong_write_is_refused(
    client: forebay.Client, view: str, columns: dict[str, object], error: type[forebay.Error], text: str
) -> None:
    with pytest.raises(error, match=text):
        client.write(view, columns=columns)


def test_similar_items_are_the_nearest_without_the_item_itself(client: forebay.Client) -> None:
    vectors = tiny_data().vectors
    scores = vectors @ vectors[10]
    expected = [100 + int(item) for item in np.argsort(-scores) if item != 10][:5]
    by_key = client.similar("items", item_id=110, k=5)
    assert [item.entity["item_id"] for item in by_key] == expected
    by_vector = client.similar("items", vector=vectors[10], k=60)
    assert len(by_vector) == 60
    assert sorted(by_vector[0].scores.values()) == [pytest.approx(scores.max(), rel=1e-5)]


@pytest.mark.parametrize(
    ("index", "options", "error", "text"),
    [
        ("nowhere", {"item_id": 100}, forebay.NotFound, "items"),
        ("items", {"item_id": 5}, forebay.NotFound, "entity"),
        ("items", {"user_id": 5}, forebay.InvalidRequest, "item_id"),
        ("items", {"vector": [1.0, 2.0]}, forebay.InvalidRequest, "4 elements"),
        ("items", {"vector": [1.0, 2.0, float("nan"), 0.0]}, forebay.InvalidRequest, "finite"),
        ("items", {}, forebay.InvalidRequest, "vector or the key"),
        ("items", {"item_id": 100, "vector": [0.0] * 4}, forebay.InvalidRequest, "vector or the key"),
        ("items", {"item_id": 100, "k": 0}, forebay.InvalidRequest, "k"),
        ("items", {"item_id": 100, "k": 10_001}, forebay.InvalidRequest, "k"),
    ],
)
def test_a_wrong_search_is_refused(
    client: forebay.Client, index: str, options: dict[str, object], error: type[forebay.Error], text: str
) -> None:
    with pytest.raises(error, match=text):
        client.similar(index, **options)  # type: ignore[arg-type]
