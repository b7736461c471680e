"""Python's values onto the wire and back, with numpy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from forebay import _pack
from forebay._dtypes import DType
from forebay._unpack import ColumnView
from forebay.errors import InvalidRequest
from forebay.types import Status
from forebay.v1 import values_pb2 as pb

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_US = 1_795_348_800_000_000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, pb.Value()),
        (True, pb.Value(bool_value=True)),
        (42, pb.Value(int64_value=42)),
        (-(2**63), pb.Value(int64_value=-(2**63))),
        (2.5, pb.Value(double_value=2.5)),
        ("é", pb.Value(string_value="é")),
        (NOON, pb.Value(timestamp_us=NOON_US)),
        (NOON.astimezone(timezone(timedelta(hours=9))), pb.Value(timestamp_us=NOON_US)),
        (np.int32(7), pb.Value(int64_value=7)),
        (np.float32(0.5), pb.Value(double_value=0.5)),
        (np.longdouble(0.5), pb.Value(double_value=0.5)),
        (np.bool_(False), pb.Value(bool_value=False)),
        (np.str_("a"), pb.Value(string_value="a")),
        (np.datetime64("2026-11-22T12:00:00", "s"), pb.Value(timestamp_us=NOON_US)),
        (np.datetime64("2026-11-22T12:00:00", "ns"), pb.Value(timestamp_us=NOON_US)),
        (np.datetime64("NaT"), pb.Value()),
    ],
)
def test_value_has_its_types_kind(given: Any, expected: pb.Value) -> None:
    assert _pack.value(given, "inputs.x") == expected


@pytest.mark.parametrize(
    "given", [2**63, object(), b"raw", {"a": 1}, datetime(2026, 1, 1), 1j, ["a", 1], [None]]
)
def test_value_is_refused_with_its_field_when_it_cannot_be_sent(given: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^inputs\.x: ") as caught:
        _pack.value(given, "inputs.x")
    assert caught.value.field == "inputs.x"


def test_list_becomes_a_tensor_when_it_is_a_value() -> None:
    assert _pack.value([1, 2.5], "f").tensor == pb.Tensor(
        dtype=pb.DTYPE_FLOAT64, shape=[2], data=np.array([1, 2.5], "<f8").tobytes()
    )
    assert _pack.value(np.array([1, 2], np.int16), "f").tensor.dtype == pb.DTYPE_INT64
    assert list(_pack.value(["a", "b"], "f").tensor.strings) == ["a", "b"]
    assert _pack.vector([1, 2], "f").dtype == pb.DTYPE_FLOAT32
    assert _pack.vector(np.zeros(3), "f").data == bytes(12)


CASES: list[tuple[str, list[Any]]] = [
    ("bool", [True, False, True]),
    ("int32", [1, -2, 3]),
    ("int64", [2**62, 0, -1]),
    ("float16", [0.5, -1.0, 2.0]),
    ("float32", [0.5, -1.0, 2.0]),
    ("float64", [0.1, 1e300, -0.0]),
    ("string", ["", "é", "a:b"]),
    ("timestamp", [NOON, NOON + timedelta(microseconds=1), datetime(1960, 1, 1, tzinfo=UTC)]),
    ("float32[2]", [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]]),
    ("int64[]", [[1, 2, 3], [], [4]]),
    ("string[]", [["a"], [], ["b", "c"]]),
    ("string[2]", [["a", "b"], ["c", "d"], ["e", "f"]]),
]


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(("dtype", "rows"), CASES, ids=[dtype for dtype, _ in CASES])
def test_rows_come_back_when_a_column_is_packed(dtype: str, rows: list[Any]) -> None:
    view = ColumnView(_pack.column("c", rows, DType.parse(dtype), "c"))
    assert [plain(view.row(row)) for row in range(3)] == rows
    assert view.statuses.tolist() == [Status.PRESENT] * 3
    assert len(view) == 3


@pytest.mark.parametrize(("dtype", "rows"), CASES, ids=[dtype for dtype, _ in CASES])
def test_null_comes_back_when_a_row_is_none(dtype: str, rows: list[Any]) -> None:
    view = ColumnView(_pack.column("c", [None, *rows[1:]], DType.parse(dtype), "c"))
    assert [plain(view.row(row)) for row in range(3)] == [None, *rows[1:]]
    assert view.statuses.tolist() == [Status.NULL, Status.PRESENT, Status.PRESENT]


def test_array_is_packed_as_its_rows_would_be() -> None:
    for dtype, rows in CASES:
        if dtype == "timestamp" or "[]" in dtype:
            continue
        packed = _pack.column("c", np.array(rows), DType.parse(dtype), "c")
        assert packed == _pack.column("c", rows, DType.parse(dtype), "c"), dtype
    times = np.array([NOON_US, "NaT"], "datetime64[us]")
    view = ColumnView(_pack.column("c", times, None, "c"))
    assert [view.row(0), view.row(1)] == [NOON, None]
    assert np.isnat(view.values[1])


def test_array_is_packed_in_order_when_memory_is_not() -> None:
    matrix = np.arange(6, dtype=">f4").reshape(2, 3).T
    view = ColumnView(_pack.column("c", matrix, DType.parse("float32[2]"), "c"))
    assert view.values.tolist() == matrix.tolist()


def test_type_is_inferred_when_none_is_given() -> None:
    def dtype_of(rows: Any) -> tuple[int, list[int]]:
        packed = _pack.column("k", rows, None, "keys.k").values
        return packed.dtype, list(packed.shape)

    assert dtype_of([1, 2]) == (pb.DTYPE_INT64, [2])
    assert dtype_of(7) == (pb.DTYPE_INT64, [1])
    assert dtype_of("ab") == (pb.DTYPE_STRING, [1])
    assert dtype_of(range(3)) == (pb.DTYPE_INT64, [3])
    assert dtype_of((True,)) == (pb.DTYPE_BOOL, [1])
    assert dtype_of([NOON]) == (pb.DTYPE_TIMESTAMP, [1])
    assert dtype_of([[1, 2], [3, 4]]) == (pb.DTYPE_INT64, [2, 2])
    assert dtype_of([[1], [3, 4]]) == (pb.DTYPE_INT64, [2, -1])
    assert dtype_of(np.array(["a", "b"])) == (pb.DTYPE_STRING, [2])
    assert dtype_of(np.array([1.5], np.float16)) == (pb.DTYPE_FLOAT16, [1])


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        ("int64", [1.5]),
        ("int64", np.array([1.5])),
        ("int32", [2**31]),
        ("int32", np.array([2**31])),
        ("int64", np.array([2**63], np.uint64)),
        ("int64", [True]),
        ("bool", [1]),
        ("bool", np.array([1])),
        ("float32", ["1"]),
        ("float32", [1e300]),
        ("float32", np.array([1e300])),
        ("float32", np.array([True])),
        ("string", [1]),
        ("string", np.array([1])),
        ("timestamp", [1.5]),
        ("timestamp", [datetime(2026, 1, 1)]),
        ("float32[2]", [[1.0]]),
        ("float32[2]", [1.0, 2.0]),
        ("float32[2]", np.zeros((1, 3))),
        ("float32", np.zeros((1, 3))),
        ("int64[]", [1]),
        ("int64[]", [["a"]]),
    ],
)
def test_column_is_refused_when_elements_have_another_type(dtype: str, rows: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^features\.x: "):
        _pack.column("x", rows, DType.parse(dtype), "features.x")


def test_missing_among_objects_is_null_when_pandas_marks_it() -> None:
    view = ColumnView(_pack.column("c", np.array(["a", np.nan, None], object), DType.parse("string"), "c"))
    assert view.values == ["a", None, None]


def test_values_are_absent_when_the_status_says_so() -> None:
    statuses = bytes([Status.PRESENT, Status.NOT_FOUND, Status.STALE, Status.DEFAULTED, Status.ERROR])
    column = pb.Column(
        name="v.x", values=_pack.tensor([1.0, 2.0, 3.0, 4.0, 5.0], None, "x"), statuses=statuses
    )
    view = ColumnView(column)
    assert [view.row(row) for row in range(5)] == [1.0, None, 3.0, 4.0, None]
    assert np.isnan(view.values).tolist() == [False, True, False, False, True]
    assert view.status(2) is Status.STALE


def test_empty_column_has_no_rows() -> None:
    for dtype in ("float32", "string", "int64[]", "float32[3]"):
        view = ColumnView(_pack.column("c", [], DType.parse(dtype), "c"))
        assert len(view.values) == len(view) == 0


@pytest.mark.parametrize(
    ("dtype", "rows", "got"),
    [
        ("int32", [1, 2**40], "a larger number"),
        ("int32", [1, 1.5], "a float"),
        ("float32", [1.0, "x"], "a str"),
        ("float32", [1.0, 1e300], "a larger number"),
    ],
)
def test_refusal_says_what_was_given_in_pythons_words(dtype: str, rows: list[Any], got: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^features.x: expected {dtype}, got {got}$"):
        _pack.column("x", rows, DType.parse(dtype), "features.x")
