"""Keys of precomputed answers tell inputs apart just where they differ; a part of one is its first rows."""

from __future__ import annotations

import math

import numpy as np
from forebay.v1 import prediction_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from gateway.convert import fill_column
from gateway.kept_answer import KeptAnswer
from gateway.precomputed.kept_bytes import shortened
from gateway.precomputed.keys import AnswerKeys, KeyPart
from registry.columns import VariableLists
from registry.dtypes import DType, Scalar
from registry.precomputed import PrecomputedPart

TYPES = {"user_id": "int64", "city": "string", "hour": "float32", "new": "bool"}
KEYS = AnswerKeys(
    "shop", "home", 1, [KeyPart(PrecomputedPart(name), DType.parse(text)) for name, text in TYPES.items()]
)
INPUTS = st.fixed_dictionaries(
    {
        "user_id": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3),
        "city": st.text(max_size=20) | st.sampled_from(["a:b", "a", "b", "{", "%7B"]),
        "hour": st.floats(width=32, allow_nan=False, allow_infinity=False)
        | st.sampled_from([0.0, -0.0, 1.0]),
        "new": st.booleans(),
    }
)


@given(INPUTS, INPUTS)
def test_keys_are_equal_exactly_where_all_inputs_are(
    one: dict[str, object], other: dict[str, object]
) -> None:
    same = KEYS.find(one, exact=True) == KEYS.find(other, exact=True)  # type: ignore[arg-type]
    assert same == (one == other)


@given(INPUTS)
def test_key_has_one_hash_tag(inputs: dict[str, object]) -> None:
    key = KEYS.find(inputs, exact=True)  # type: ignore[arg-type]
    assert key is not None
    assert key.count(b"{") == key.count(b"}") == 1


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e4))
def test_a_number_lies_in_its_bin(value: float, width: float) -> None:
    part = KeyPart(PrecomputedPart("x", width), DType.parse("float64"))
    number = int(AnswerKeys("a", "p", 1, [part]).texts({"x": value}))
    assert number == math.floor(value / width)


@given(st.lists(st.lists(st.integers(-9, 9), max_size=3), min_size=1, max_size=8), st.integers(1, 10))
def test_a_part_of_an_answer_is_its_first_rows(lists: list[list[int]], top: int) -> None:
    response = pb.PredictResponse()
    count = len(lists)
    fill_column(response.entities.add(), "item_id", np.arange(count), Scalar.INT64)
    fill_column(response.scores.add(), "score", np.arange(count, dtype=np.float32), Scalar.FLOAT32)
    tags = VariableLists.of(lists, np.dtype("<i8"))
    fill_column(response.features.add(), "v.tags", tags, Scalar.INT64, np.ones(count, np.uint8))
    kept = KeptAnswer(response.SerializeToString(), 1, 1, 1, degraded=False)

    part = pb.PredictResponse.FromString(shortened(kept, top, ["v.tags"]).body)

    expected = pb.PredictResponse()
    rows = min(top, count)
    fill_column(expected.entities.add(), "item_id", np.arange(rows), Scalar.INT64)
    fill_column(expected.scores.add(), "score", np.arange(rows, dtype=np.float32), Scalar.FLOAT32)
    tags = VariableLists.of(lists[:top], np.dtype("<i8"))
    fill_column(expected.features.add(), "v.tags", tags, Scalar.INT64, np.ones(rows, np.uint8))
    assert part.entities == expected.entities
    assert part.scores == expected.scores
    assert part.features == expected.features
