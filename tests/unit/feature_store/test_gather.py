"""Rows into matrices."""

import numpy as np
import pytest

from feature_store.codec import ViewReader
from tests.support.feature_rows import NOW_US, encode, schema, view

WIDE = schema(1, **{f"f{i}": "float32" for i in range(20)})
TABLE = {f"f{i}": [float(i), float(100 + i)] for i in range(20)}


def reader_of(stored: object) -> ViewReader:
    return ViewReader(view(stored), 1, NOW_US)  # type: ignore[arg-type]


def test_one_block_is_copied_when_columns_are_neighbours_in_row_and_matrix() -> None:
    spec = reader_of(WIDE).gather_spec([f"f{i}" for i in range(20)], range(20))
    assert len(spec.program.copies) == 1
    assert spec.program.copies[0].source == slice(0, 20)
    assert spec.columns == slice(0, 20)


def test_one_indexed_copy_is_made_when_columns_are_scattered() -> None:
    names = [f"f{i}" for i in range(19, -1, -1)]
    reader = reader_of(WIDE)
    spec = reader.gather_spec(names, range(20))
    assert len(spec.program.copies) == 1
    out = np.zeros((2, 20), np.float32)
    reader.decode(encode(WIDE, TABLE), NOW_US).gather(spec, out)
    np.testing.assert_array_equal(out, [[TABLE[name][row] for name in names] for row in (0, 1)])


def test_one_row_fills_the_matrix_when_the_block_has_one() -> None:
    reader = reader_of(WIDE)
    spec = reader.gather_spec(["f3", "f7"], [1, 0])
    out = np.zeros((4, 3), np.float32)
    reader.decode(encode(WIDE, TABLE)[:1], NOW_US).gather(spec, out)
    np.testing.assert_array_equal(out, [[7, 3, 0]] * 4)


def test_rows_are_spread_when_an_index_is_given() -> None:
    reader = reader_of(WIDE)
    spec = reader.gather_spec(["f3", "f4"], [0, 1])
    out = np.zeros((3, 2), np.float32)
    reader.decode(encode(WIDE, TABLE), NOW_US).gather(spec, out, np.array([1, 0, 1]))
    np.testing.assert_array_equal(out, [[103, 104], [3, 4], [103, 104]])


def test_gather_is_refused_when_shapes_do_not_fit() -> None:
    reader = reader_of(WIDE)
    block = reader.decode(encode(WIDE, TABLE), NOW_US)
    with pytest.raises(ValueError, match="2 rows"):
        block.gather(reader.gather_spec(["f3"], [0]), np.zeros((3, 1), np.float32))


def test_part_of_a_matrix_is_filled_when_a_slice_of_its_rows_is_given() -> None:
    reader = reader_of(WIDE)
    out = np.zeros((4, 1), np.float32)
    reader.decode(encode(WIDE, TABLE), NOW_US).gather(reader.gather_spec(["f3"], [0]), out[1:3])
    assert out[:, 0].tolist() == [0, 3, 103, 0]


def test_values_are_converted_when_features_are_not_float32() -> None:
    stored = schema(1, {"i": 8}, b="bool", i="int32", h="float16", d="float64", t="timestamp", l="int32[2]")
    table = {
        "b": [True, None],
        "i": [-3, None],
        "h": [0.5, None],
        "d": [1e300, None],
        "t": [2_000_000, None],
        "l": [[1, 2], None],
    }
    reader = reader_of(stored)
    out = np.zeros((3, 7), np.float32)
    spec = reader.gather_spec(list(table), [0, 1, 2, 3, 4, 5])
    reader.decode([*encode(stored, table), None], NOW_US).gather(spec, out)
    nan = np.nan
    np.testing.assert_array_equal(
        out,
        np.array([[1, -3, 0.5, np.inf, 2e6, 1, 2], [nan, 8, nan, nan, nan, nan, nan], [nan, 8, *[nan] * 5]]),
    )


def test_integers_are_exact_when_the_matrix_holds_integers() -> None:
    stored = schema(1, {"b": 5}, a="int64", b="int64")
    reader = reader_of(stored)
    out = np.full((3, 2), -1, np.int64)
    rows = [*encode(stored, {"a": [2**60 + 1, None], "b": [2**60 + 3, None]}), None]
    reader.decode(rows, NOW_US).gather(reader.gather_spec(["b", "a"], [1, 0]), out)
    assert out.tolist() == [[2**60 + 1, 2**60 + 3], [0, 5], [0, 5]]


def test_list_defaults_replace_whole_lists_when_they_are_null() -> None:
    stored = schema(1, {"v": [7.0, 8.0], "w": [3, 4]}, v="float32[2]", w="int32[2]")
    table = {"v": [[1.0, np.nan], None], "w": [[1, 2], None]}
    reader = reader_of(stored)
    out = np.zeros((3, 4), np.float32)
    reader.decode([*encode(stored, table), None], NOW_US).gather(reader.gather_spec(["v", "w"], [0, 2]), out)
    np.testing.assert_array_equal(out, [[1, np.nan, 1, 2], [7, 8, 3, 4], [7, 8, 3, 4]])


def test_no_rows_make_an_empty_matrix_whatever_its_dtype() -> None:
    stored = schema(1, count="int64", pair="int32[2]")
    reader = reader_of(stored)
    spec = reader.gather_spec(["count", "pair"], [0, 1])
    for dtype in (np.int64, np.float32):
        out = np.zeros((0, 3), dtype)
        reader.decode([], NOW_US).gather(spec, out)
        assert out.shape == (0, 3)
