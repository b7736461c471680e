"""`forebay training-set`: which rows are joined, what is refused, what the model's inputs are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forebay.errors import InvalidRequest, NotFound, NotUsable

from jobs.training.output import COLUMNS_METADATA
from tests.integration.training.conftest import NOW_US

HOUR_US = 3_600_000_000
START_US = 1_700_000_000_000_000 // HOUR_US * HOUR_US
YAML = """
app: shop
entities:
  user: {key: {user_id: int64}}
  item: {key: {item_id: int64}}
sources:
  visits: {parquet: visits.parquet, event_time: at}
  items: {parquet: items.parquet}
views:
  user_visits:
    entity: user
    batch: {source: visits}
    features: {visits: {dtype: int32, default: 0}, page: string}
  user_recent:
    entity: user
    batch: {source: visits, publish: upsert}
    max_age: 2h
    features: {visits: int32}
  item_profile:
    entity: item
    batch: {source: items}
    features: {price: float32, vector: {dtype: "float32[2]", space: taste}}
  noted:
    entity: user
    features: {note: string}
"""


def visits(*rows: tuple[int, int, int, str | None]) -> pa.Table:
    """Return rows of (user, hours after the start, visits, page)."""
    users, hours, counts, pages = zip(*rows, strict=True)
    times = pa.array([START_US + hour * HOUR_US for hour in hours], pa.timestamp("us", tz="UTC"))
    return pa.table({"user_id": users, "at": times, "visits": pa.array(counts, pa.int32()), "page": pages})


def at(*hours: float) -> list[int]:
    return [round(START_US + hour * HOUR_US) for hour in hours]


@pytest.fixture
async def shop(history: Any) -> Any:
    rows = visits((1, 0, 1, "a"), (1, 2, 2, "b"), (1, 2, 2, "c"), (1, 5, 3, None), (2, 4, 1, "z"))
    pq.write_table(rows, history.root / "visits.parquet")
    items = {"item_id": [1, 2], "price": [1.5, None], "vector": [[1.0, 2.0], [3.0, 4.0]]}
    pq.write_table(pa.table(items), history.root / "items.parquet")
    await history.apply(YAML)
    return history


async def test_newest_row_by_the_time_of_the_label_is_joined_in_the_order_of_the_labels(shop: Any) -> None:
    labels = {
        "clicked": [True, False, True, False, True],
        "user_id": [1, 2, 1, 3, 1],
        "event_time": at(4.99, 3, 0, 9, 5),
    }
    table, outcome = await shop.training_set("user_visits", labels=labels)
    assert table["clicked"].to_pylist() == labels["clicked"]
    assert table["user_visits.visits"].to_pylist() == [2, 0, 1, 0, 3]
    assert table["user_visits.visits.status"].to_pylist() == [
        "PRESENT",
        "DEFAULTED",
        "PRESENT",
        "DEFAULTED",
        "PRESENT",
    ]
    assert table["user_visits.page"].to_pylist() == ["c", None, "a", None, None]
    assert table["user_visits.page.status"].to_pylist()[1:] == ["NOT_FOUND", "PRESENT", "NOT_FOUND", "NULL"]
    times = table["user_visits.event_time"].cast("int64").to_pylist()
    assert times == [*at(2), None, *at(0), None, *at(5)]
    assert outcome.tally.found == {"user_visits": 3}
    assert not outcome.remarks


async def test_row_written_in_place_is_stale_when_it_was_written_longer_ago_than_max_age(shop: Any) -> None:
    labels = {"user_id": [1] * 4, "event_time": at(7, 7.01, 4, 4.01)}
    table, _ = await shop.training_set("user_recent", labels=labels)
    assert table["user_recent.visits"].to_pylist() == [3, 3, 2, 2]
    assert table["user_recent.visits.status"].to_pylist() == ["PRESENT", "STALE", "PRESENT", "STALE"]
    hourly = {"user_recent": 3 * HOUR_US}
    table, _ = await shop.training_set("user_recent", labels=labels, every_us=hourly)
    offset = START_US // HOUR_US % 3  # of the start since the refresh before
    written = -(-(5 + offset) // 3) * 3 - offset  # when the row of hour 5 came, in hours
    expected = 3 if written <= 7 else 2
    assert table["user_recent.visits"].to_pylist()[0] == expected


async def test_view_without_event_time_is_refused_and_joined_when_it_is_asked_for_as_it_is(shop: Any) -> None:
    labels = {"item_id": [2, 1, 7], "event_time": at(0, 1, 2)}
    with pytest.raises(InvalidRequest, match="--as-is item_profile"):
        await shop.training_set("item_profile", labels=labels)
    table, outcome = await shop.training_set("item_profile", labels=labels, as_is=["item_profile"])
    assert table["item_profile.price"].to_pylist() == [None, 1.5, None]
    assert table["item_profile.price.status"].to_pylist() == ["NULL", "PRESENT", "NOT_FOUND"]
    assert table["item_profile.vector"].to_pylist() == [[3.0, 4.0], [1.0, 2.0], None]
    assert "AS IT IS TODAY" in outcome.remarks[0]


async def test_newest_row_whatever_its_time_is_joined_when_a_view_with_event_times_is_taken_as_is(
    shop: Any,
) -> None:
    labels = {"user_id": [1], "event_time": at(0)}
    table, outcome = await shop.training_set("user_visits.visits", labels=labels, as_is=["user_visits"])
    assert table["user_visits.visits"].to_pylist() == [3]
    assert len(outcome.remarks) == 1
    assert "user_visits.page" not in table.column_names


async def test_every_view_that_can_not_be_joined_is_named(shop: Any) -> None:
    labels = {"user_id": [1], "item_id": [1], "event_time": at(0)}
    with pytest.raises(InvalidRequest, match="noted has no batch source: WriteFeatures writes it"):
        await shop.training_set("noted", labels=labels)
    with pytest.raises(NotFound, match="did you mean 'user_visits'"):
        await shop.training_set("user_visit", labels=labels)
    with pytest.raises(NotFound, match=r"'user_visits\.page"):
        await shop.training_set("user_visits.pag", labels=labels)
    with pytest.raises(InvalidRequest, match="view item_profile isn't in this training set"):
        await shop.training_set("user_visits", labels=labels, as_is=["item_profile"])
    with pytest.raises(InvalidRequest, match="--model-inputs needs a pipeline"):
        await shop.training_set("user_visits", labels=labels, model_inputs=True)


GOOD: dict[str, Any] = {"user_id": [1, 2], "event_time": at(1, 2)}
BAD = [
    ({"user_id": None}, "no column user_id, a key; they have event_time"),
    ({"event_time": None}, "no column event_time, the label's time .--time names another."),
    ({"user_id": [1.0, float("nan")]}, "column user_id has no value in row 2"),
    ({"user_id": [None, 1]}, "column user_id has no value in row 1"),
    ({"user_id": [1.5, 2.0]}, "column user_id has a value that isn't int64"),
    ({"user_id": ["1", "zwei"]}, "column user_id has a value that isn't int64"),
    ({"user_id": [[1], [2]]}, "column user_id is list"),
    ({"event_time": ["2023-11-14", "soon"]}, "column event_time holds no time such as .* in row 2"),
    ({"event_time": [1.0, 2.0]}, "column event_time is double, which is no time"),
    ({"event_time": [1_700_000_000, 1_700_000_001]}, "event_time is too small for microseconds"),
    ({"event_time": [*at(1), None]}, "column event_time has no time in row 2"),
    ({"event_time": [NOW_US, NOW_US + 1]}, "column event_time lies in the future in row 2"),
    ({"user_id": [1, 1], "event_time": at(1, 1)}, "user_id, event_time have the same values .*rows 1"),
    ({"user_visits.visits": [1, 2]}, "column user_visits.visits is given twice, or is one that"),
    ({"forebay_label": [1, 2]}, "column forebay_label is given twice, or is one that"),
    ({"user_id": pa.array([], pa.int64()), "event_time": pa.array([], pa.int64())}, "there is not one row"),
]


@pytest.mark.parametrize(("change", "says"), BAD, ids=[says for _, says in BAD])
async def test_labels_are_refused_naming_the_column(shop: Any, change: dict[str, Any], says: str) -> None:
    labels = {name: values for name, values in {**GOOD, **change}.items() if values is not None}
    (shop.root / "training.parquet").write_bytes(b"as it was")
    with pytest.raises(InvalidRequest, match=says):
        await shop.training_set("user_visits", labels=labels)
    assert (shop.root / "training.parquet").read_bytes() == b"as it was"
    assert not list(shop.root.glob(".training*"))


async def test_keys_and_times_are_taken_however_a_tool_writes_them(shop: Any) -> None:
    texts = ["2023-11-14T22:00:00Z", "2023-11-15 00:00:00+00:00"]
    for users in (["1", "2"], [1.0, 2.0], pa.array([1, 2], pa.int16())):
        table, _ = await shop.training_set("user_visits", labels={"user_id": users, "event_time": texts})
        assert table["user_visits.visits"].to_pylist() == [1, 0]
    csv = shop.root / "labels.csv"
    csv.write_text("user_id,asked,clicked\n1,2023-11-14 22:00:00,1\n2,2023-11-15 03:00:00,0\n")
    table, _ = await shop.training_set("user_visits", labels=str(csv), time="asked")
    assert table["user_visits.visits"].to_pylist() == [1, 1]
    query = "select user_id, visits.at + interval 1 hour as asked from visits order by 2 desc limit 2"
    table, _ = await shop.training_set("user_visits", labels=query, time="asked")
    assert table["user_visits.visits"].to_pylist() == [3, 1]
    with pytest.raises(InvalidRequest, match="there is no file"):
        await shop.training_set("user_visits", labels="nothing.parquet")
    with pytest.raises((InvalidRequest, NotUsable), match="labels"):
        await shop.training_set("user_visits", labels="select * from nothing")


async def test_rows_without_an_event_time_are_left_out_when_joined_as_of_a_time(shop: Any) -> None:
    rows = visits((1, 0, 1, "a"), (1, 1, 9, "b"))
    unknown = pa.array([START_US, None], pa.timestamp("us", tz="UTC"))
    pq.write_table(rows.set_column(1, "at", unknown), shop.root / "visits.parquet")
    table, _ = await shop.training_set("user_visits", labels={"user_id": [1], "event_time": at(3)})
    assert table["user_visits.visits"].to_pylist() == [1]


PIPELINE = """
  user_taste:
    entity: user
    batch: {source: tastes}
    max_age: 1h
    features: {vector: {dtype: "float32[2]", space: taste}, age: {dtype: float32, default: 40}}
indexes: {items: {entity: item, vector: item_profile.vector, metric: inner_product}}
models:
  ranker:
    repository: models
    inputs:
      x: [retrieve.score, user_taste.age, request.hour, item_profile.price]
      n: {dtype: int64, columns: [user_visits.visits]}
    outputs: {score: score}
pipelines:
  items_for_user:
    entities: [user]
    request: {hour: {dtype: float32, default: 12}}
    hydrate: [user_taste, user_visits]
    retrieve: {index: items, query: user_taste.vector, k: 5}
    hydrate_candidates: [{view: item_profile, required: true}]
    predict: ranker
    degrade: RULES
"""


async def with_pipeline(shop: Any, rules: str = "{hydrate: {user_taste: stale}}") -> None:
    times = pa.array(at(0, 2), pa.timestamp("us", tz="UTC"))
    tastes = {"user_id": [1, 1], "event_time": times, "vector": [[1.0, 1.0], [2.0, 0.0]], "age": [30.0, None]}
    pq.write_table(pa.table(tastes), shop.root / "tastes.parquet")
    text = YAML.replace("  items: {parquet", "  tastes: {parquet: tastes.parquet}\n  items: {parquet")
    await shop.apply(text + PIPELINE.replace("RULES", rules))


PIPELINE_LABELS: dict[str, Any] = {
    "user_id": [1, 1, 2, 1, 1],
    "item_id": [1, 2, 1, 7, 1],
    "event_time": at(1, 3, 1, 3, 3),
    "hour": [7.0, None, 9.0, 10.0, 11.0],
    "bought": [1, 0, 0, 0, 1],
}


async def test_model_inputs_are_what_a_request_would_have_had(shop: Any) -> None:
    await with_pipeline(shop)
    table, outcome = await shop.training_set(
        "items_for_user", labels=PIPELINE_LABELS, model_inputs=True, as_is=["item_profile"]
    )
    nan = float("nan")
    np.testing.assert_array_equal(
        np.array(table["x"].to_pylist(), np.float32),
        [[3.0, 30, 7, 1.5], [6.0, 40, 12, nan], [nan, 40, 9, 1.5], [nan, 40, 10, nan], [2.0, 40, 11, 1.5]],
    )
    assert table["n"].to_pylist() == [[1], [2], [0], [2], [2]]
    assert table["served"].to_pylist() == [True, True, True, False, True]
    assert table["bought"].to_pylist() == PIPELINE_LABELS["bought"]
    widths = json.loads(table.schema.field("x").metadata[COLUMNS_METADATA])
    assert [entry["column"] for entry in widths] == [
        "retrieve.score",
        "user_taste.age",
        "request.hour",
        "item_profile.price",
    ]
    assert outcome.tally.unserved == 1


@pytest.mark.parametrize(("rule", "ages"), [("stale", [30, 40]), ("defaults", [30, 40]), ("fail", [30, 40])])
async def test_stale_rows_follow_the_rule_of_the_pipeline(shop: Any, rule: str, ages: list[int]) -> None:
    await with_pipeline(shop, f"{{hydrate: {{user_taste: {rule}}}}}")
    labels = {name: values[:1] * 2 for name, values in PIPELINE_LABELS.items()} | {"event_time": at(1, 2.9)}
    every = {"user_taste": 24 * HOUR_US}
    table, _ = await shop.training_set(
        "items_for_user", labels=labels, model_inputs=True, as_is=["item_profile"], every_us=every
    )
    # The refresh was at midnight, 22 hours before, when no row had happened: nobody has a taste.
    assert [row[1] for row in table["x"].to_pylist()] == [40, 40]
    assert table["served"].to_pylist() == [rule != "fail"] * 2


async def test_request_feature_is_refused_when_it_is_needed_and_not_there(shop: Any) -> None:
    await with_pipeline(shop)
    labels = {**PIPELINE_LABELS, "hour": ["seven"] * 5}
    with pytest.raises(InvalidRequest, match="column hour can't be float32"):
        await shop.training_set("items_for_user", labels=labels, as_is=["item_profile"])
    without = {name: values for name, values in PIPELINE_LABELS.items() if name != "hour"}
    table, _ = await shop.training_set("items_for_user", labels=without, as_is=["item_profile"])
    assert table["request.hour"].to_pylist() == [12.0] * 5
    assert [name for name in table.column_names if name.endswith(".status")] == [
        "user_taste.age.status",
        "item_profile.price.status",
        "user_visits.visits.status",
    ]


async def test_output_is_refused_when_there_is_no_such_directory(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.root = Path("/nowhere/at/all")
    with pytest.raises(InvalidRequest, match="--output"):
        await shop.training_set("user_visits", labels="select 1")
