"""Which inputs have one precomputed answer: the texts they become, and the keys made of them."""

import numpy as np
import pytest

from gateway.inputs import InputValue
from gateway.precomputed.keys import AnswerKeys, KeyPart, input_text
from registry.dtypes import DType
from registry.precomputed import PrecomputedPart


@pytest.mark.parametrize(
    ("value", "dtype", "width", "text"),
    [
        (42, "int64", None, "42"),
        (-7, "int32", None, "-7"),
        (21, "float32", None, "21.0"),
        (21.0, "float32", None, "21.0"),
        (0.1, "float64", None, "0.1"),
        (-0.0, "float32", None, "0.0"),
        (True, "bool", None, "1"),
        ("a:b{c}%", "string", None, "a%3Ab%7Bc%7D%25"),
        (0.0, "float32", 6.0, "0"),
        (5.9, "float32", 6.0, "0"),
        (6.0, "float32", 6.0, "1"),
        (-0.5, "float32", 6.0, "-1"),
        (17, "int64", 5.0, "3"),
        (1e300, "float64", 1e-300, "inf"),
    ],
)
def test_text_of_an_input(value: InputValue, dtype: str, width: float | None, text: str) -> None:
    assert input_text(value, DType.parse(dtype), width) == text


def test_text_is_one_when_two_numbers_are_one_to_the_model() -> None:
    single = DType.parse("float32")
    assert input_text(0.1, single, None) == input_text(float(np.float32(0.1)), single, None)
    assert input_text(0.1, single, None) != input_text(0.1000001, single, None)


def test_lists_have_one_text_when_all_their_elements_are_equal() -> None:
    dtype = DType.parse("float32[3]")
    one = np.array([1, 2, 3], np.float32)
    assert input_text(one, dtype, None) == input_text(one.copy(), dtype, None)
    assert input_text(one, dtype, None) != input_text(one[::-1], dtype, None)


KEYS = AnswerKeys(
    "shop",
    "home",
    3,
    [
        KeyPart(PrecomputedPart("user_id"), DType.parse("int64")),
        KeyPart(PrecomputedPart("hour", 6.0), DType.parse("float32")),
        KeyPart(PrecomputedPart("device", fixed="phone"), DType.parse("string")),
    ],
)


def test_key_names_application_pipeline_and_version() -> None:
    values: dict[str, InputValue] = {"user_id": 42, "hour": 13.0, "device": "phone"}
    assert KEYS.find(values, exact=True) == b"p{42:2}shop/home:3"


def test_fixed_inputs_must_be_as_they_were_only_when_asked_for_exactly() -> None:
    values: dict[str, InputValue] = {"user_id": 42, "hour": 13.0, "device": "tv"}
    assert KEYS.find(values, exact=True) is None
    assert KEYS.find(values, exact=False) == b"p{42:2}shop/home:3"


def test_there_is_no_key_when_the_texts_are_longer_than_one_may_be() -> None:
    keys = AnswerKeys("shop", "home", 1, [KeyPart(PrecomputedPart("query"), DType.parse("string"))])
    assert keys.find({"query": "x" * 2000}, exact=True) is None
