"""A view as a plan gives it."""

import pytest
from forebay.errors import NotFound

from feature_store.schema import RowSchema, feature_view
from registry.definitions import Application
from registry.dtypes import DType
from registry.plan import Plan, PlanIds, SchemaVersion
from tests.support.feature_rows import schema

PLAN = Plan(
    number=1,
    app="shop",
    application=Application.from_file_form(
        {
            "app": "shop",
            "entities": {"item": {"key": {"shop": "string", "item_id": "int64"}}},
            "views": {
                "profile": {
                    "entity": "item",
                    "max_age": "2h",
                    "features": {"price": {"dtype": "float32", "default": 1.5}, "title": "string"},
                }
            },
        }
    ),
    root=".",
    ids=PlanIds(
        entities={"item": 4},
        views={"profile": 9},
        schemas={
            "profile": (
                SchemaVersion(11, (("price", "int32"),)),
                SchemaVersion(12, (("price", "float32"), ("title", "string"))),
            )
        },
    ),
)


def test_feature_view_has_ids_schemas_and_rules_when_made_from_a_plan() -> None:
    view = feature_view(PLAN, "profile")
    assert (view.entity_id, view.view_id, view.max_age_us, view.publish) == (4, 9, 7_200_000_000, "upsert")
    assert [field.name for field in view.key] == ["shop", "item_id"]
    assert view.schema.schema_id == 12
    assert [older.schema_id for older in view.older] == [11]
    assert view.features["price"].default == 1.5
    assert view.dtype("title") == DType.parse("string")


def test_feature_view_is_not_found_when_the_plan_lacks_it() -> None:
    with pytest.raises(NotFound, match="prices"):
        feature_view(PLAN, "prices")
    with pytest.raises(NotFound, match="cost"):
        feature_view(PLAN, "profile").dtype("cost")


def test_a_schema_is_refused_when_it_cannot_be_a_row() -> None:
    feature = schema(1, a="float32").features[0]
    with pytest.raises(ValueError, match="id"):
        RowSchema(2**16, ())
    with pytest.raises(ValueError, match="same name"):
        RowSchema(1, (feature, feature))
    with pytest.raises(ValueError, match="lists of strings"):
        schema(1, tags="string[]")
