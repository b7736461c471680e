"""What may change from plan to plan, and the ids and layouts that follow."""

from __future__ import annotations

import pytest

from registry.definitions import Application
from registry.dtypes import DType, widens
from registry.evolution import evolution_problems, next_ids
from registry.plan import NO_IDS, PlanIds


def application(
    *, publish: str = "upsert", entity: str = "user", key: dict[str, str] | None = None, **features: str
) -> Application:
    return Application.from_file_form(
        {
            "app": "a",
            "entities": {"user": {"key": key or {"user_id": "int64"}}, "item": {"key": {"item_id": "int64"}}},
            "views": {
                "v": {
                    "entity": entity,
                    "batch": {"sql": "select 1", "publish": publish},
                    "features": features or {"x": "float32"},
                }
            },
        }
    )


def ids(*applications: Application) -> PlanIds:
    history = NO_IDS
    for one in applications:
        history = next_ids(history, one, {"user": 1, "item": 2}, {"v": 3})
    return history


@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        ("int32", "int64", True),
        ("float16", "float64", True),
        ("float32[3]", "float64[3]", True),
        ("int32[]", "int64[]", True),
        ("float32[3]", "float32[4]", False),
        ("float32[3]", "float32[]", False),
        ("int64", "int32", False),
        ("float64", "float32", False),
        ("int64", "timestamp", False),
        ("string", "int64", False),
    ],
)
def test_dtype_widens_only_when_every_value_fits(old: str, new: str, fits: bool) -> None:
    assert widens(DType.parse(old), DType.parse(new)) is fits


def test_change_of_dtype_is_refused_when_rows_are_written_in_place() -> None:
    history = ids(application(x="int32"), application(x="int64"), application(y="float32"))

    [problem] = evolution_problems(history, application(x="int32", y="string"))[1:]
    assert problem.path == "views.v.features.y.dtype"
    assert evolution_problems(history, application(x="int64", y="float64")) == []


def test_name_stays_taken_when_its_feature_left() -> None:
    history = ids(application(x="string"), application(y="int32"))

    [problem] = evolution_problems(history, application(x="int32"))
    assert problem.message.startswith("was string and is now int32")


def test_change_of_dtype_is_allowed_when_view_is_swapped() -> None:
    history = ids(application(x="string", publish="swap"))

    assert evolution_problems(history, application(x="int32", publish="swap")) == []


def test_change_is_refused_when_a_key_or_a_views_entity_changes() -> None:
    two = {"user_id": "int64", "region": "string"}
    history = ids(application(key=two))

    reordered = dict(reversed(two.items()))
    assert [problem.path for problem in evolution_problems(history, application(key=reordered))] == [
        "entities.user.key"
    ]
    assert [problem.path for problem in evolution_problems(history, application(key=two, entity="item"))] == [
        "views.v.entity"
    ]
    assert evolution_problems(history, application(key=two)) == []


def test_layout_is_numbered_anew_only_when_features_change() -> None:
    first, second = application(x="int32"), application(x="int32", y="int32")

    assert [version.schema_id for version in ids(first, first).schemas["v"]] == [1]
    assert [version.schema_id for version in ids(first, second).schemas["v"]] == [1, 2]
    assert [version.schema_id for version in ids(first, second, first).schemas["v"]] == [2, 1]
    assert [version.schema_id for version in ids(first, second, first, second).schemas["v"]] == [1, 2]
    present = ids(first, second).schemas["v"][-1]
    assert present.features == (("x", "int32"), ("y", "int32"))


def test_ids_stay_when_names_leave() -> None:
    history = ids(application())
    empty = Application(app="a")

    later = next_ids(history, empty, {}, {})

    assert (later.entities, later.views, later.schemas) == (history.entities, history.views, history.schemas)
