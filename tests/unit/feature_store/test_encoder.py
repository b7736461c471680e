"""Columns into rows: what is taken, what is refused, what is null."""

from typing import Any

import numpy as np
import pytest
from forebay.errors import InvalidRequest

from feature_store.codec import RowEncoder, ViewReader
from feature_store.row_header import MAX_TIME_US
from registry.columns import ColumnData, VariableLists
from registry.dtypes import MAX_LIST_LENGTH, MAX_STRING_BYTES
from tests.support.feature_rows import NOW_US, plain, schema, view

ONE = np.array([5])


def round_trip(dtype: str, column: ColumnData) -> list[Any]:
    """Return what a reader gives for one feature written from `column`."""
    stored = schema(1, x=dtype)
    rows = RowEncoder(stored).encode({"x": column}, np.full(column.count, 5), NOW_US)
    read = ViewReader(view(stored), 1, NOW_US).decode(rows, NOW_US).column("x")
    return plain(read.values, read.statuses.tolist())


def test_rows_have_the_documented_size_when_all_features_are_float32() -> None:
    stored = schema(1, **{f"f{i}": "float32" for i in range(50)})
    columns = {f"f{i}": ColumnData(np.ones(1, np.float32)) for i in range(50)}
    assert len(RowEncoder(stored).encode(columns, ONE, NOW_US)[0]) == 220


@pytest.mark.parametrize("count", [0, 1, 255, 256, 1_000])
def test_rows_are_the_same_when_neighbouring_floats_are_written_together(count: int) -> None:
    texts = ["float32", "float32", "int64", "float64", "float64[2]", "float64", "float16"]
    dtypes = dict(zip("abcdefg", texts, strict=True))
    stored, random = schema(1, **dtypes), np.random.default_rng(count)
    arrays: dict[str, Any] = {
        name: random.integers(-9, 9, (count, 2) if "[" in text else count).astype(text.partition("[")[0])
        for name, text in dtypes.items()
    }
    arrays["b"][::3], arrays["f"][1::7], arrays["g"][-1:] = np.nan, -np.nan, np.inf
    times_us = random.integers(0, 2**40, count)
    together = {name: ColumnData(values) for name, values in arrays.items()}
    # A mask, even of no row, and another type are looked at feature by feature.
    apart = {name: ColumnData(values, np.zeros(count, np.bool_)) for name, values in arrays.items()}
    wider = together | {"a": ColumnData(arrays["a"].astype(np.float64))}
    encoder = RowEncoder(stored)
    rows = encoder.encode(apart, times_us, NOW_US)
    assert encoder.encode(together, times_us, NOW_US) == rows
    assert encoder.encode(wider, times_us, NOW_US) == rows


def test_nan_is_null_and_infinity_a_value_when_a_float_is_written() -> None:
    assert round_trip("float32", ColumnData(np.array([np.nan, np.inf, 1.5]))) == [None, np.inf, 1.5]


def test_a_float_list_is_null_when_its_first_element_is_nan() -> None:
    values = np.array([[np.nan, 1], [1, np.nan]])
    first, second = round_trip("float32[2]", ColumnData(values))
    assert first is None
    assert second[0] == 1
    assert np.isnan(second[1])


def test_the_mask_says_null_when_the_value_under_it_does_not_fit() -> None:
    column = ColumnData(np.array([2**40, 7]), np.array([True, False]))
    assert round_trip("int32", column) == [None, 7]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", np.array([1, 2], np.int64)),
        ("float64", np.array([1, 2], np.uint8)),
        ("int64", np.array([1, 2], np.int8)),
        ("int32", np.array([1, 2], np.uint64)),
    ],
)
def test_other_numeric_types_are_taken_when_they_can_be_the_features(dtype: str, values: Any) -> None:
    assert round_trip(dtype, ColumnData(values)) == [1, 2]


def test_a_fixed_list_is_taken_when_it_comes_as_variable_lists() -> None:
    lists = VariableLists.of([[1, 2], [], [3, 4]], np.dtype("<f4"))
    assert round_trip("float32[2]", ColumnData(lists, np.array([False, True, False]))) == [
        [1, 2],
        None,
        [3, 4],
    ]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", np.array([1.0])),
        ("int64", np.array([True])),
        ("float32", np.array([True])),
        ("float32", np.array(["1"])),
        ("bool", np.array([1])),
        ("timestamp", np.array([1.0])),
        ("string", np.array([1])),
        ("string", [1]),
        ("string", [b"x"]),
        ("float32", [1.0]),
        ("float32", np.array([[1.0]])),
        ("float32[2]", np.array([1.0])),
        ("float32[2]", np.array([[1.0]])),
        ("int64[]", np.array([[1]])),
        ("int64[]", VariableLists(np.array([1.5]), np.array([0, 1]))),
        ("int64[]", VariableLists(np.array([1]), np.array([0, 2]))),
        ("float32", np.array([1.0, 2.0])),
    ],
)
def test_encode_names_the_feature_when_a_column_has_the_wrong_type_or_shape(dtype: str, values: Any) -> None:
    encoder = RowEncoder(schema(1, price=dtype))
    with pytest.raises(InvalidRequest, match="price") as caught:
        encoder.encode({"price": ColumnData(values)}, ONE, NOW_US)
    assert caught.value.field == "price"


def test_encode_names_the_feature_when_a_column_is_missing_or_unknown() -> None:
    encoder = RowEncoder(schema(1, price="float32"))
    with pytest.raises(InvalidRequest, match="price is missing"):
        encoder.encode({}, ONE, NOW_US)
    with pytest.raises(InvalidRequest, match="no feature cost"):
        encoder.encode(dict.fromkeys(("price", "cost"), ColumnData(np.ones(1))), ONE, NOW_US)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("int32", np.array([1]), np.array([2**31])),
        ("int64", np.array([1]), np.array([2**63], np.uint64)),
        ("float32", np.array([1.0]), np.array([1e300])),
        ("float16", np.array([1.0]), np.array([70_000])),
        ("int32[2]", np.array([[1, 2]]), np.array([[1, -(2**31) - 1]])),
        ("string", ["x"], ["x" * (MAX_STRING_BYTES + 1)]),
        ("string", ["x"], ["\ud800"]),
        ("int32[]", VariableLists.of([[1]], np.dtype("i8")), VariableLists.of([[1, 2**31]], np.dtype("i8"))),
        (
            "bool[]",
            VariableLists.of([[True]], np.dtype("?")),
            VariableLists.of([[True] * (MAX_LIST_LENGTH + 1)], np.dtype("?")),
        ),
        ("float32[2]", np.array([[1.0, 2.0]]), VariableLists.of([[1.0]], np.dtype("f4"))),
    ],
)
def test_only_the_row_is_invalid_when_one_value_does_not_fit(dtype: str, good: Any, bad: Any) -> None:
    encoder = RowEncoder(schema(1, x=dtype))
    rows, invalid, faults = encoder.encode_valid({"x": ColumnData(good)}, ONE, NOW_US)
    assert rows == encoder.encode({"x": ColumnData(good)}, ONE, NOW_US)
    assert invalid.tolist() == [False]
    rows, invalid, faults = encoder.encode_valid({"x": ColumnData(bad)}, ONE, NOW_US)
    assert (rows, invalid.tolist()) == ([b""], [True])
    assert [(fault.name, fault.row_count) for fault in faults] == [("x", 1)]
    with pytest.raises(InvalidRequest, match="x"):
        encoder.encode({"x": ColumnData(bad)}, ONE, NOW_US)


def test_only_the_row_is_invalid_when_its_event_time_is_out_of_range() -> None:
    encoder = RowEncoder(schema(1, x="float32"))
    times = np.array([MAX_TIME_US, MAX_TIME_US + 1, -MAX_TIME_US, -MAX_TIME_US - 1])
    _, invalid, [fault] = encoder.encode_valid({"x": ColumnData(np.ones(4))}, times, NOW_US)
    assert invalid.tolist() == [False, True, False, True]
    assert fault == ("event_time", 2, "times in the years 1684 to 2255")
    with pytest.raises(ValueError, match="write time"):
        encoder.encode_valid({"x": ColumnData(np.ones(4))}, times, MAX_TIME_US + 1)


def test_absent_features_are_null_when_that_is_asked_for() -> None:
    stored = schema(1, a="float32", b="string", c="int64[]", d="int32[2]")
    rows, invalid, _ = RowEncoder(stored).encode_valid(
        {"a": ColumnData(np.ones(1))}, ONE, NOW_US, absent_is_null=True
    )
    block = ViewReader(view(stored), 1, NOW_US).decode(rows, NOW_US)
    assert invalid.tolist() == [False]
    assert [block.statuses(name)[0] for name in "abcd"] == [1, 2, 2, 2]


def test_no_rows_are_made_when_there_are_none() -> None:
    stored = schema(1, a="float32", b="string", c="int64[]")
    columns = {
        "a": ColumnData(np.empty(0)),
        "b": ColumnData([]),
        "c": ColumnData(VariableLists(np.empty(0), np.zeros(1, np.int64))),
    }
    assert RowEncoder(stored).encode(columns, np.empty(0, np.int64), NOW_US) == []


def test_a_row_that_is_too_wide_as_a_whole_is_invalid() -> None:
    encoder = RowEncoder(schema(1, a="int64[]", b="int64[]", c="string"))
    longest = [0] * MAX_LIST_LENGTH
    both = VariableLists.of([longest, longest], np.dtype("i8"))
    first = VariableLists.of([longest, []], np.dtype("i8"))
    columns = {"a": ColumnData(both), "b": ColumnData(first), "c": ColumnData(["", ""])}
    rows, invalid, faults = encoder.encode_valid(columns, np.zeros(2, np.int64), NOW_US)
    assert invalid.tolist() == [True, False]
    assert faults == (("row", 1, "at most 1048576 bytes"),)
    assert rows[0] == b""
    with pytest.raises(InvalidRequest, match="row: 1 values are not at most 1048576 bytes"):
        encoder.encode(columns, np.zeros(2, np.int64), NOW_US)
