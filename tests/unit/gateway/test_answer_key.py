"""What makes two requests the same, whatever form they come in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from forebay.v1 import values_pb2 as pb

from gateway.answer_key import KEY_BYTES, AnswerKey, KeyInput
from gateway.inputs import InputField, InputSchema
from registry.dtypes import DType

FIELDS = {
    "user_id": InputField("user_id", DType.parse("int64"), is_key=True),
    "country": InputField("country", DType.parse("string"), is_key=False, default="xx"),
    "hour": InputField("hour", DType.parse("float32"), is_key=False, default=12),
    "amount": InputField("amount", DType.parse("float64"), is_key=False, default=0.0),
    "taste": InputField("taste", DType.parse("float32[2]"), is_key=False, default=np.zeros(2, np.float32)),
    "new": InputField("new", DType.parse("bool"), is_key=False, default=False),
}
SCHEMA = InputSchema("p", FIELDS, {"user": ("user_id",)})
ALL = AnswerKey("p ranker champion", [KeyInput(field) for field in FIELDS.values()])


def key(
    of: AnswerKey = ALL,
    top: int = 10,
    return_features: Sequence[str] = (),
    candidates: Sequence[str] | None = None,
    **inputs: pb.Value,
) -> bytes:
    values = SCHEMA.parse({"user_id": pb.Value(int64_value=1), **inputs}).values
    return of.of(values, top, return_features, candidates)


def double(value: float) -> pb.Value:
    return pb.Value(double_value=value)


def integer(value: int) -> pb.Value:
    return pb.Value(int64_value=value)


def text(value: str) -> pb.Value:
    return pb.Value(string_value=value)


def vector(*values: float, dtype: type[np.generic] = np.float32) -> pb.Value:
    wire = pb.DTYPE_FLOAT32 if dtype is np.float32 else pb.DTYPE_FLOAT64
    data = np.array(values, dtype).tobytes()
    return pb.Value(tensor=pb.Tensor(dtype=wire, shape=[len(values)], data=data))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"hour": double(3.0)}, {"hour": integer(3)}),
        ({"hour": double(0.0)}, {"hour": double(-0.0)}),
        ({"amount": double(0.0)}, {"amount": double(-0.0)}),
        ({"hour": double(math.nan)}, {}),
        ({"hour": pb.Value()}, {"hour": double(12.0)}),
        ({"hour": double(0.1)}, {"hour": double(float(np.float32(0.1)))}),
        ({"user_id": text("1")}, {"user_id": integer(1)}),
        ({"taste": vector(1.0, -0.0)}, {"taste": vector(1.0, 0.0, dtype=np.float64)}),
        ({"taste": vector(0.0, 0.0)}, {}),
    ],
)
def test_key_is_the_same_when_only_the_form_differs(
    one: dict[str, pb.Value], other: dict[str, pb.Value]
) -> None:
    assert key(**one) == key(**other)


DIFFERENT: list[dict[str, object]] = [
    {},
    {"user_id": integer(2)},
    {"user_id": integer(-1)},
    {"hour": double(13.0)},
    {"amount": double(12.0)},
    {"amount": double(0.1)},
    {"amount": double(float(np.float32(0.1)))},
    {"country": text("")},
    {"country": text("1")},
    {"taste": vector(1.0, 0.0)},
    {"taste": vector(0.0, 1.0)},
    {"new": pb.Value(bool_value=True)},
    {"top": 11},
    {"return_features": ["a.b"]},
    {"return_features": ["a.b", "a.c"]},
    {"return_features": ["a.c", "a.b"]},
    {"candidates": []},
    {"candidates": ["1"]},
    {"candidates": ["1", "2"]},
    {"candidates": ["12"]},
    {"candidates": ["2", "1"]},
    {"candidates": ["1"], "return_features": ["2"]},
    {"return_features": ["2", "1"]},
]


def test_keys_differ_when_anything_that_decides_the_answer_differs() -> None:
    keys = [key(**options) for options in DIFFERENT]  # type: ignore[arg-type]
    assert len(set(keys)) == len(DIFFERENT)
    assert {len(one) for one in keys} == {KEY_BYTES}


def test_keys_differ_when_the_pipeline_or_the_model_arm_or_a_type_differs() -> None:
    hour, user = KeyInput(FIELDS["hour"]), KeyInput(FIELDS["user_id"])
    wider = KeyInput(InputField("hour", DType.parse("float64"), is_key=False))
    makers = [
        AnswerKey("p ranker champion", [hour, user]),
        AnswerKey("p ranker canary", [hour, user]),
        AnswerKey("q ranker champion", [hour, user]),
        AnswerKey("p ranker champion", [user, hour]),
        AnswerKey("p ranker champion", [wider, user]),
        AnswerKey("p ranker champion", [KeyInput(FIELDS["hour"], 6.0), user]),
        AnswerKey("p ranker champion", [KeyInput(FIELDS["hour"], 3.0), user]),
    ]
    assert len({key(of) for of in makers}) == len(makers)


def test_other_inputs_dont_part_answers_when_the_key_is_declared() -> None:
    declared = AnswerKey("p", [KeyInput(FIELDS["country"])])
    assert key(declared, user_id=integer(1), hour=double(3.0)) == key(declared, user_id=integer(2))
    assert key(declared, country=text("de")) != key(declared)
    assert key(declared, top=3) != key(declared)
    assert key(declared, return_features=["a.b"]) != key(declared)


@pytest.mark.parametrize(
    ("value", "bin_start"),
    [
        (0.0, 0.0),
        (5.9999, 0.0),
        (6.0, 6.0),
        (11.0, 6.0),
        (-0.0, 0.0),
        (-0.001, -6.0),
        (-6.0, -6.0),
        (1e38, 1e38),
    ],
)
def test_numbers_meet_when_they_fall_into_one_bin(value: float, bin_start: float) -> None:
    binned = AnswerKey("p", [KeyInput(FIELDS["hour"], 6.0)])
    assert key(binned, hour=double(value)) == key(binned, hour=double(bin_start))
    assert key(binned, hour=double(value)) != key(binned, hour=double(bin_start - 1.0 if value < 1e30 else 0))


def test_value_falls_into_the_bin_of_what_the_model_sees() -> None:
    binned = AnswerKey("p", [KeyInput(FIELDS["hour"], 0.1)])
    sent_as_float = double(float(np.float32(0.3)))
    assert key(binned, hour=double(0.3)) == key(binned, hour=sent_as_float)


def test_bins_take_the_largest_numbers_and_the_smallest_width() -> None:
    tiny = AnswerKey("p", [KeyInput(FIELDS["amount"], 5e-324)])
    assert key(tiny, amount=double(1e308)) == key(tiny, amount=double(1.5e308))
    assert key(tiny, amount=double(1e308)) != key(tiny, amount=double(-1e308))
    large = AnswerKey("p", [KeyInput(FIELDS["user_id"], 0.5)])
    assert key(large, user_id=integer(2**63 - 1)) != key(large, user_id=integer(-(2**63)))
