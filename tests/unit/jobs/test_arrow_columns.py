"""Arrow arrays become column data of the declared dtype, or are refused with a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from jobs.arrow_columns import ColumnError, column_data, refusal
from registry.columns import VariableLists
from registry.dtypes import DType


def converted(array: pa.Array, dtype: str) -> tuple[object, object]:
    column = column_data(array, DType.parse(dtype))
    return column.values, column.nulls


def test_null_becomes_nan_when_the_feature_is_a_float() -> None:
    values, nulls = converted(pa.array([1.5, None, 3.0], pa.float64()), "float32")
    assert nulls is None
    np.testing.assert_array_equal(values, np.array([1.5, np.nan, 3.0], np.float32))


@pytest.mark.parametrize("target", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "array",
    [pa.array([1, None], pa.int32()), pa.array([Decimal("1.0"), None]), pa.array([1.0, None], pa.float32())],
    ids=["int", "decimal", "float"],
)
def test_any_number_is_accepted_when_the_feature_is_a_float(array: pa.Array, target: str) -> None:
    values, _ = converted(array, target)
    assert values.dtype.kind == "f"  # type: ignore[attr-defined]
    np.testing.assert_array_equal(values, np.array([1.0, np.nan]))


def test_null_is_masked_when_the_feature_is_an_integer() -> None:
    values, nulls = converted(pa.array([7, None, 9], pa.uint8()), "int64")
    np.testing.assert_array_equal(values, np.array([7, 0, 9], np.int64))
    np.testing.assert_array_equal(nulls, [False, True, False])


def test_overflow_is_refused_when_an_integer_is_narrowed() -> None:
    with pytest.raises(ColumnError, match="doesn't fit int32"):
        column_data(pa.array([2**40]), DType.parse("int32"))


def test_fraction_is_refused_when_the_feature_is_an_integer() -> None:
    reason = refusal(pa.float64(), DType.parse("int64"))
    assert "fraction would be lost" in reason
    with pytest.raises(ColumnError):
        column_data(pa.array([1.0]), DType.parse("int64"))


def test_bool_with_nulls_is_masked() -> None:
    values, nulls = converted(pa.array([True, None, False]), "bool")
    np.testing.assert_array_equal(values, [True, False, False])
    np.testing.assert_array_equal(nulls, [False, True, False])


@pytest.mark.parametrize("arrow_type", [pa.string(), pa.large_string()])
def test_strings_keep_their_nulls(arrow_type: pa.DataType) -> None:
    values, _ = converted(pa.array(["ä", None, ""], arrow_type), "string")
    assert values == ["ä", None, ""]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([datetime(2024, 1, 2, tzinfo=UTC)], pa.timestamp("us", tz="UTC")),
        pa.array([datetime(2024, 1, 2)], pa.timestamp("ns")),
        pa.array([datetime(2024, 1, 2)], pa.timestamp("s")),
        pa.array([date(2024, 1, 2)]),
        pa.array([1_704_153_600_000_000]),
        pa.array([datetime(2024, 1, 2, tzinfo=UTC)], pa.timestamp("ms", tz="America/New_York")),
    ],
    ids=["zone", "nanoseconds", "seconds", "date", "integer", "other zone"],
)
def test_timestamp_is_microseconds_utc_whatever_its_arrow_type(array: pa.Array) -> None:
    values, _ = converted(array, "timestamp")
    assert values.tolist() == [1_704_153_600_000_000]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arrow_type", [pa.list_(pa.float64(), 2), pa.list_(pa.float64()), pa.large_list(pa.float32())]
)
def test_fixed_list_is_a_matrix_with_nan_rows_where_null(arrow_type: pa.DataType) -> None:
    array = pa.array([[9.0, 9.0], [1.0, 2.0], None, [3.0, None]], arrow_type)[1:]
    values, nulls = converted(array, "float32[2]")
    assert nulls is None
    np.testing.assert_array_equal(values, np.array([[1, 2], [np.nan] * 2, [3, np.nan]], np.float32))


def test_fixed_list_of_integers_is_masked_where_null() -> None:
    values, nulls = converted(pa.array([[1, 2], None], pa.list_(pa.int64())), "int32[2]")
    np.testing.assert_array_equal(values, np.array([[1, 2], [0, 0]], np.int32))
    np.testing.assert_array_equal(nulls, [False, True])


def test_list_is_refused_when_its_length_differs_from_the_declared_one() -> None:
    with pytest.raises(ColumnError, match="has 3 elements, not 2"):
        column_data(pa.array([[1.0, 2.0], [1.0, 2.0, 3.0]]), DType.parse("float32[2]"))
    assert "3 elements, not 2" in refusal(pa.list_(pa.float32(), 3), DType.parse("float32[2]"))


@pytest.mark.parametrize("arrow_type", [pa.list_(pa.int32()), pa.large_list(pa.int64())])
def test_variable_lists_are_laid_end_to_end(arrow_type: pa.DataType) -> None:
    array = pa.array([[7], [1, 2], None, [], [3]], arrow_type)[1:]
    values, nulls = converted(array, "int64[]")
    assert isinstance(values, VariableLists)
    assert values.is_sound()
    assert values.values.tolist() == [1, 2, 3]
    assert values.offsets.tolist() == [0, 2, 2, 2, 3]
    np.testing.assert_array_equal(nulls, [False, True, False, False])


def test_null_element_is_refused_when_the_list_holds_integers() -> None:
    with pytest.raises(ColumnError, match="null element"):
        column_data(pa.array([[1, None]]), DType.parse("int64[]"))


@pytest.mark.parametrize(
    ("arrow_type", "dtype", "says"),
    [
        (pa.string(), "float32", "does not convert to float32"),
        (pa.int64(), "bool", "does not convert to bool"),
        (pa.int64(), "string", "does not convert to string"),
        (pa.float32(), "float32[4]", "not a list"),
        (pa.list_(pa.float32()), "float32", "not a single value"),
        (pa.bool_(), "float32", "does not convert to float32"),
        (pa.list_(pa.string()), "int64[]", "does not convert to int64"),
    ],
)
def test_reason_is_given_when_the_type_does_not_convert(
    arrow_type: pa.DataType, dtype: str, says: str
) -> None:
    assert says in refusal(arrow_type, DType.parse(dtype))


def test_chunked_array_is_one_column() -> None:
    values, _ = converted(pa.chunked_array([[1], [2, 3]]), "int64")
    assert values.tolist() == [1, 2, 3]  # type: ignore[attr-defined]


def test_empty_array_is_an_empty_column() -> None:
    values, _ = converted(pa.array([], pa.list_(pa.float32())), "float32[3]")
    assert values.shape == (0, 3)  # type: ignore[attr-defined]


def test_nanoseconds_are_rounded_down_before_and_after_1970() -> None:
    array = pa.array([-1, -1000, -1001, 999, 1_000, None], pa.int64()).cast(pa.timestamp("ns"))
    values, nulls = converted(array, "timestamp")
    np.testing.assert_array_equal(values, [-1, -1, -2, 0, 1, 0])
    np.testing.assert_array_equal(nulls, [False] * 5 + [True])


def test_time_that_no_microseconds_can_say_is_refused() -> None:
    with pytest.raises(ColumnError, match="doesn't fit timestamp"):
        column_data(pa.array([2**50], pa.int64()).cast(pa.timestamp("s")), DType.parse("timestamp"))


def test_integers_are_read_from_decimals_without_a_fraction_and_unsigned_columns() -> None:
    total = pa.array([Decimal(2**40), None], pa.decimal128(38, 0))
    values, nulls = converted(total, "int64")
    np.testing.assert_array_equal(values, [2**40, 0])
    np.testing.assert_array_equal(nulls, [False, True])
    assert converted(pa.array([255], pa.uint8()), "int32")[0].tolist() == [255]  # type: ignore[attr-defined]
    for array in (pa.array([Decimal(2**63)], pa.decimal128(38, 0)), pa.array([2**63], pa.uint64())):
        with pytest.raises(ColumnError, match="doesn't fit int64"):
            column_data(array, DType.parse("int64"))
    assert "fraction would be lost" in refusal(pa.decimal128(9, 2), DType.parse("int64"))
    assert refusal(pa.decimal128(9, 2), DType.parse("float32")) == ""


def test_enumerated_text_is_text() -> None:
    assert converted(pa.array(["a", None, "a"]).dictionary_encode(), "string")[0] == ["a", None, "a"]
