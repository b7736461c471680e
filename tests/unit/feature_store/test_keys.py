"""Entity keys into text, and text into row keys."""

from typing import Any

import numpy as np
import pytest
from forebay.errors import InvalidRequest

from feature_store.keys import canonical_texts, row_keys
from feature_store.types import KeyField
from registry.dtypes import DType

WIDE = KeyField("user_id", DType.parse("int64"))
NARROW = KeyField("shop_id", DType.parse("int32"))
TEXT = KeyField("code", DType.parse("string"))


@pytest.mark.parametrize(
    "column",
    [
        [42, -7],
        np.array([42, -7], np.int32),
        np.array([42, -7]),
        ["42", "-7"],
        [np.int16(42), "-7"],
        np.array(["42", "-7"]),
    ],
    ids=["list", "int32", "int64", "text", "mixed", "text array"],
)
def test_integer_keys_have_one_text_when_they_come_in_any_form(column: Any) -> None:
    assert canonical_texts([WIDE], [column]) == ["42", "-7"]


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        True,
        None,
        "",
        " 42",
        "+42",
        "042",
        "-0",
        "4_2",
        "٤٢",
        "1e3",
        "9" * 20,
        2**63,
        -(2**63) - 1,
        b"42",
        [1],
    ],
    ids=repr,
)
def test_canonical_texts_name_the_field_when_an_integer_key_is_wrong(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="user_id") as caught:
        canonical_texts([WIDE], [[value]])
    assert caught.value.field == "user_id"
    with pytest.raises(InvalidRequest):
        canonical_texts([WIDE], [[1, value]])


@pytest.mark.parametrize(
    "column", [np.array([1.5]), np.array([True]), np.array([2**63], np.uint64), np.array([[1]])], ids=str
)
def test_canonical_texts_refuse_when_an_integer_column_has_another_type(column: Any) -> None:
    with pytest.raises(InvalidRequest):
        canonical_texts([WIDE], [column])


def test_canonical_texts_refuse_when_an_integer_exceeds_its_field() -> None:
    assert canonical_texts([NARROW], [[2**31 - 1]]) == ["2147483647"]
    with pytest.raises(InvalidRequest, match="int32"):
        canonical_texts([NARROW], [[2**31]])


@pytest.mark.parametrize("value", ["", 3, None, b"x", "x" * 513, "é" * 257, "\ud800"], ids=ascii)
def test_canonical_texts_name_the_field_when_a_string_key_is_wrong(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^key field code must "):
        canonical_texts([TEXT], [["fine", value]])


def test_string_keys_are_taken_when_they_are_as_long_as_allowed() -> None:
    assert canonical_texts([TEXT], [["x" * 512, "é" * 256]]) == ["x" * 512, "é" * 256]


def test_special_characters_are_escaped_when_a_key_is_composite() -> None:
    texts = canonical_texts([TEXT, WIDE], [["a:b", "{x}", "50%"], [1, 2, 3]])
    assert texts == ["a%3Ab:1", "%7Bx%7D:2", "50%25:3"]


def test_canonical_texts_refuse_when_columns_do_not_match_the_key() -> None:
    with pytest.raises(InvalidRequest, match="user_id"):
        canonical_texts([WIDE], [])
    with pytest.raises(InvalidRequest, match="user_id has 2 values"):
        canonical_texts([TEXT, WIDE], [["a"], [1, 2]])


def test_row_keys_are_the_documented_text_when_made() -> None:
    assert row_keys(3, 7, 12, ["42", "a%3Ab:1"]) == [b"f{3:42}7:12", b"f{3:a%3Ab:1}7:12"]
    assert row_keys(3, 7, 12, []) == []
