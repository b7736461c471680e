"""What a change costs until the next refresh."""

from __future__ import annotations

import pytest

from jobs.change_costs import change_costs
from registry.definitions import Application
from registry.evolution import next_ids
from registry.plan import NO_IDS, Plan, PlanIds
from registry.release import Release
from tests.support.application_texts import application, changed
from tests.support.stream_application import YAML as TRENDS

FILE = """\
app: shop
entities:
  item: {key: {item_id: int64}}
sources:
  items: {parquet: items.parquet}
views:
  bargain:
    entity: item
    batch: {source: items}
    max_age: 1d
    features: {price: int32, stock: {dtype: int32, default: 0}, vector: "float32[2]"}
  live: {entity: item, features: {clicks: int32}}
indexes:
  items: {entity: item, vector: bargain.vector, metric: l2}
models:
  ranker: {repository: models, inputs: {x: [bargain.price]}, outputs: {score: y}}
pipelines:
  home: {entities: [item], hydrate: [bargain], predict: ranker}
"""


def costs(old: str, new: str, *, refreshed: bool = True) -> list[str]:
    before = application(old)
    plan = Plan(1, "shop", before, "/", _ids(before))
    live = Release(1, "shop", 1).with_view("live", 1)
    if refreshed:
        live = live.with_view("bargain", 2, as_of_us=5)
    return change_costs(plan, live, application(new))


def _ids(before: Application) -> PlanIds:
    return next_ids(NO_IDS, before, {"item": 1}, dict.fromkeys(before.views, 1))


def test_first_apply_lists_everything_that_is_empty() -> None:
    assert change_costs(None, None, application(FILE)) == [
        "view bargain has no rows until `forebay refresh run bargain`; pipelines: home",
        "view live has no rows until WriteFeatures writes them",
        "index items has no version until `forebay index build items`",
    ]


@pytest.mark.parametrize("refreshed", [True, False])
def test_nothing_is_listed_when_nothing_changes(refreshed: bool) -> None:
    assert costs(FILE, FILE, refreshed=refreshed) == []


def test_nothing_is_listed_when_rows_survive_the_change() -> None:
    assert (
        costs(FILE, changed("price: int32", "price: int64", changed("max_age: 1d", "max_age: 9d", FILE)))
        == []
    )
    assert costs(FILE, changed("price: int32", "price: float64", FILE)) == []


def test_renamed_view_has_no_rows() -> None:
    assert costs(FILE, FILE.replace("bargain", "offer")) == [
        "view offer has no rows until `forebay refresh run offer`; pipelines: home"
    ]


def test_new_and_changed_features_read_null() -> None:
    new = changed("price: int32", "price: float32, size: int32", FILE)
    [cost] = costs(FILE, new)
    assert cost.startswith(
        "view bargain: price, size read null, or the default, until `forebay refresh run bargain`"
    )


def test_changed_view_has_no_rows_when_it_was_never_refreshed() -> None:
    new = changed("price: int32", "price: float32", FILE)
    assert costs(FILE, new, refreshed=False) == [
        "view bargain has no rows until `forebay refresh run bargain`; pipelines: home"
    ]


def test_rows_stay_when_the_way_of_publishing_changes() -> None:
    upsert = changed("batch: {source: items}", "batch: {source: items, publish: upsert}", FILE)
    [in_place] = costs(FILE, upsert)
    assert in_place.startswith("view bargain is written in place from now on: its rows stay")
    assert in_place.endswith("; pipelines: home")
    [swapped] = costs(upsert, FILE)
    assert "are STALE" in swapped
    assert "until `forebay refresh run bargain` replaces them all" in swapped


def test_index_of_another_metric_must_be_built_again() -> None:
    assert costs(FILE, changed("metric: l2", "metric: cosine", FILE)) == [
        "index items can't be searched until `forebay index build items`"
    ]


STREAMED = "`forebay stream run` has brought in its stream"
WINDOW = "highest: {max: rating, over: 30m, tile: 1m}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (WINDOW, "most: {max: rating, over: 20m, tile: 1m}", []),
        (
            WINDOW,
            "lowest: {min: rating, over: 30m, tile: 1m}",
            ["view item_trend starts anew, with tiles for what its windows need, and reads STALE until"],
        ),
        (
            "    stream: ratings\n    max_age: 1h",
            "    stream: clicks\n    max_age: 1h",
            ["view item_trend starts anew, of another stream, and reads STALE until"],
        ),
    ],
)
def test_windows_cost_a_new_start_when_their_tiles_do_not_serve(
    old: str, new: str, expected: list[str]
) -> None:
    text = TRENDS.replace("views:\n", _CLICKS + "views:\n")
    before = application(text)
    plan = Plan(1, "trends", before, "/", next_ids(NO_IDS, before, {"user": 1, "item": 2}, _numbered(before)))
    live = (
        Release(1, "trends", 1).with_view("item_trend", 1).with_view("user_trend", 1).with_view("item_now", 1)
    )
    found = change_costs(plan, live, application(changed(old, new, text)))
    assert found == [f"{sentence} {STREAMED}; pipelines: rate_items" for sentence in expected]


def test_windows_are_stale_when_they_are_applied_first() -> None:
    assert change_costs(None, None, application(TRENDS))[:2] == [
        f"view item_trend reads STALE until {STREAMED}; pipelines: rate_items",
        f"view user_trend reads STALE until {STREAMED}",
    ]


_CLICKS = """\
  clicks:
    redis: {stream: clicks}
    fields: {user_id: int64, item_id: int64, rating: float32, rated_at: timestamp}
    event_time: rated_at
    partition_by: user_id
"""


def _numbered(before: Application) -> dict[str, int]:
    return {name: number for number, name in enumerate(before.views, 1)}
