"""Which live pipelines a change would leave without values, and what `apply` says of it."""

import pytest

from jobs.breaking import breaking_changes, pipeline_columns, pipelines_of
from registry.application_file import parse_application
from registry.definitions import Application
from registry.plan import NO_IDS, Plan
from registry.release import Release

TEXT = """\
app: shop
entities: {user: {key: {user_id: int64}}, item: {key: {item_id: int64}}}
sources: {users: {parquet: users.parquet}}
views:
  profile:
    entity: user
    batch: {source: users}
    features: {age: int32, country: string, taste: "float32[2]", seen: "int64[]"}
  item: {entity: item, features: {price: float32, rating: float32, vector: "float32[2]"}}
indexes: {items: {entity: item, vector: item.vector, metric: l2}}
models: {ranker: {repository: models, inputs: {x: [profile.age, item.price]}, outputs: {score: y}}}
pipelines:
  ranked:
    entities: [user]
    hydrate: [profile]
    retrieve: {index: items, query: profile.taste, k: 10, exclude: profile.seen}
    hydrate_candidates: [item]
    predict: ranker
    select: {by: item.rating, where: {profile.country: {eq: de}}}
    degrade: {predict: [{feature: item.rating}]}
"""
LIVE = Release(1, "shop", 1).with_view("profile", 1, 1, "b1").with_view("item", 1)


def application(text: str = TEXT) -> Application:
    found, _ = parse_application(text.encode())
    return found


def breaks(old: str, new: str, release: Release | None = LIVE) -> list[str]:
    before = Plan(1, "shop", application(), "/", NO_IDS)
    return breaking_changes(before, release, application(TEXT.replace(old, new)), {})


def test_columns_are_all_that_an_answer_is_made_of() -> None:
    shop = application()
    columns = ["profile.age", "item.price", "profile.country", "item.rating", "profile.taste", "profile.seen"]
    assert pipeline_columns(shop, shop.pipelines["ranked"]) == columns
    assert pipelines_of(shop, "profile.seen") == ["ranked"]
    assert pipelines_of(shop, "item.vector") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("age: int32", "age: int64"),
        ("age: int32", "age: float64"),
        ("age: int32", "age: {dtype: int32, default: 3}"),
        ("age: int32", "age: int32, height: float32"),
        ("country: string, taste", 'taste: "float32[2]", country: string, other'),
        ("inputs: {x: [profile.age, item.price]}", "inputs: {x: [item.price]}"),
        (
            "inputs: {x: [profile.age,",
            "inputs: {x: [profile.age, profile.height,",
        ),
    ],
    ids=["wider", "exact float", "default", "unused", "reordered", "not used any more", "new with a default"],
)
def test_change_is_no_break_when_every_value_stays(old: str, new: str) -> None:
    if "profile.height" in new:
        text = TEXT.replace("age: int32", "age: int32, height: {dtype: float32, default: 1.8}")
        plan = Plan(1, "shop", application(), "/", NO_IDS)
        assert breaking_changes(plan, LIVE, application(text.replace(old, new)), {}) == []
    else:
        assert breaks(old, new) == []


def test_new_feature_is_refused_to_a_live_pipeline_until_it_is_filled() -> None:
    text = TEXT.replace("age: int32", "age: int32, height: float32")
    text = text.replace("[profile.age", "[profile.height, profile.age")
    [said] = breaking_changes(Plan(1, "shop", application(), "/", NO_IDS), LIVE, application(text), {})
    assert said == (
        "pipeline ranked is live and would read profile.height as null until `forebay refresh run profile`: "
        "no row has it yet. In two steps: apply the file without its use in ranked, `forebay refresh run "
        "profile`, and then apply the use; or give profile.height a default"
    )


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        (
            "age: int32",
            "age: float32",
            "profile.age as null until `forebay refresh run profile`",
        ),
        ("price: float32", "price: int64", "item.price as null until rows of item are written anew"),
        ("rating: float32", "rating: int32", "item.rating"),
    ],
    ids=["not exact", "number of another kind", "narrower"],
)
def test_change_of_type_is_refused_when_a_live_pipeline_uses_it(old: str, new: str, column: str) -> None:
    [said] = breaks(old, new)
    assert f"pipeline ranked is live and would read {column}" in said
    assert "then let ranked use that and drop " in said


def test_nothing_is_live_before_the_first_refresh() -> None:
    assert breaks("age: int32", "age: float32", None) == []
    assert breaks("age: int32", "age: float32", Release(1, "shop", 1).with_view("item", 1)) == []


def test_new_feature_is_refused_while_the_live_rows_are_of_before_it() -> None:
    with_it = TEXT.replace("age: int32", "age: int32, height: float32")
    using_it = with_it.replace("[profile.age", "[profile.height, profile.age")
    applied = Plan(2, "shop", application(with_it), "/", NO_IDS)
    before = {"profile": application().views["profile"]}
    [said] = breaking_changes(applied, LIVE, application(using_it), before)
    assert "would read profile.height as null" in said
    refreshed = {"profile": application(with_it).views["profile"]}
    assert breaking_changes(applied, LIVE, application(using_it), refreshed) == []
    in_use = Plan(3, "shop", application(using_it), "/", NO_IDS)
    assert breaking_changes(in_use, LIVE, application(using_it), before) == [], "it was allowed before"
