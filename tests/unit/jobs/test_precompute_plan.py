"""What is to be precomputed: every combination, once, told apart by the inputs that matter."""

from __future__ import annotations

from typing import Any

import pytest
from forebay.errors import InvalidRequest

from gateway.inputs import InputField, InputSchema
from jobs.precompute_plan import wanted
from registry.dtypes import DType
from registry.pipeline_definitions import Pipeline
from registry.precomputed import PrecomputedPart

INT, FLOAT, TEXT = DType.parse("int64"), DType.parse("float32"), DType.parse("string")
SCHEMA = InputSchema(
    "home",
    {
        "user_id": InputField("user_id", INT, is_key=True),
        "item_id": InputField("item_id", INT, is_key=True),
        "hour": InputField("hour", FLOAT, is_key=False, default=12.0),
        "device": InputField("device", TEXT, is_key=False, default="phone"),
    },
    {"user": ("user_id",), "item": ("item_id",)},
)
KEYS = {"user_id": [1, 2], "item_id": [7, 8]}


def pipeline(cache_key: list[Any] | None = None) -> Pipeline:
    cache = {} if cache_key is None else {"cache": {"fresh": "5s", "key": cache_key}}
    return Pipeline.model_validate({"entities": ["user", "item"], "predict": "m", **cache})


def test_every_ranked_row_is_combined_with_all_values() -> None:
    found = wanted(pipeline(), SCHEMA, KEYS, {"hour": [6.0, 18.0]}, {})
    assert found.count == 4
    assert [(one["user_id"], one["item_id"], one["hour"], one["device"]) for one in found] == [
        (1, 7, 6.0, "phone"),
        (1, 7, 18.0, "phone"),
        (2, 8, 6.0, "phone"),
        (2, 8, 18.0, "phone"),
    ]


def test_inputs_with_one_value_are_fixed_and_the_others_are_in_the_key() -> None:
    found = wanted(pipeline(), SCHEMA, KEYS, {"hour": [6.0, 18.0]}, {"hour": 6.0})
    assert found.parts == (
        PrecomputedPart("user_id"),
        PrecomputedPart("item_id"),
        PrecomputedPart("hour", 6.0),
        PrecomputedPart("device", fixed="phone"),
    )


def test_inputs_that_the_cache_key_leaves_out_do_not_matter() -> None:
    declared = pipeline(["user_id", {"hour": {"bin": 6}}])
    found = wanted(declared, SCHEMA, {"user_id": [1, 2]}, {"item_id": [7]}, {})
    assert found.parts == (PrecomputedPart("user_id"), PrecomputedPart("hour", 6.0, "2"))
    found = wanted(declared, SCHEMA, KEYS, {"device": ["tv", "phone"]}, {"hour": 12.0})
    assert found.parts == (
        PrecomputedPart("user_id"),
        PrecomputedPart("item_id"),
        PrecomputedPart("hour", 12.0, "1"),
        PrecomputedPart("device"),
    )


def test_ranked_rows_of_one_bin_have_one_answer() -> None:
    rows = {"user_id": [1, 1, 2, 1], "item_id": [7, 7, 7, 7], "hour": [1.0, 2.0, 1.0, 7.0]}
    found = wanted(pipeline(), SCHEMA, rows, {}, {"hour": 6.0})
    assert [(one["user_id"], one["hour"]) for one in found] == [(1, 1.0), (2, 1.0), (1, 7.0)]
    assert (found.count, found.repeated) == (3, 1)
    assert wanted(pipeline(), SCHEMA, {**rows, "hour": [0.1, 0.10000000149, 0.1, 0.2]}, {}, {}).count == 3


@pytest.mark.parametrize(
    ("ranked", "combined", "widths", "says"),
    [
        ({"user_id": [1]}, {}, {}, "home needs item_id, which has no default"),
        (KEYS, {"user_id": [1]}, {}, "the ranking returns user_id already"),
        (KEYS, {}, {"user_id": 5.0}, "user_id is a key field"),
        (KEYS, {"hour": [1.0, 2.0]}, {"hour": 6.0}, "1.0 and 2.0 fall into one bin"),
        ({"user_id": [1] * 10_000, "item_id": [1] * 10_000}, {"hour": list(range(1001))}, {}, "10,010,000"),
    ],
)
def test_what_makes_no_sense_is_refused(
    ranked: dict[str, Any], combined: dict[str, Any], widths: dict[str, float], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        wanted(pipeline(), SCHEMA, ranked, combined, widths)
