"""Tables of features as Arrow and pandas have them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from forebay import _pack
from forebay._dtypes import DType
from forebay.errors import NotUsable
from forebay.results import FeatureTable
from forebay.v1 import values_pb2 as pb

AT = datetime(2026, 11, 22, 15, 30, 0, 123456, tzinfo=UTC)
ROWS: dict[str, list[Any]] = {
    "bool": [True, None, False],
    "int32": [1, None, -3],
    "int64": [2**60, None, -1],
    "float16": [0.5, None, -2.0],
    "float32": [1.5, None, -1.5],
    "float64": [0.1, None, 2.5],
    "string": ["né", None, ""],
    "timestamp": [AT, None, AT],
    "float32[2]": [[1.0, 2.0], None, [3.0, 4.0]],
    "int64[]": [[1, 2], None, []],
    "bool[]": [[True, False], None, []],
    "timestamp[]": [[AT], None, []],
}
KINDS = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "float32[2]": pa.list_(pa.float32(), 2),
    "int64[]": pa.list_(pa.int64()),
    "bool[]": pa.list_(pa.bool_()),
    "timestamp[]": pa.list_(pa.timestamp("us", tz="UTC")),
}


def column(dtype: str, rows: list[Any], *statuses: int) -> pb.Column:
    packed = _pack.column(f"v.{dtype}", rows, DType.parse(dtype), "f")
    if statuses:
        packed.statuses = bytes(statuses)
    return packed


def table(*columns: pb.Column) -> FeatureTable:
    return FeatureTable(columns, [_pack.column("user_id", [7, 8, 9], None, "keys.user_id")])


@pytest.mark.parametrize("dtype", ROWS)
def test_an_arrow_column_has_its_features_type_and_nulls_where_nothing_is(dtype: str) -> None:
    arrow = table(column(dtype, ROWS[dtype])).to_arrow()
    arrow.validate(full=True)
    assert arrow.column_names == ["user_id", f"v.{dtype}", f"v.{dtype}.status"]
    assert arrow["user_id"].to_pylist() == [7, 8, 9]
    assert arrow[f"v.{dtype}"].type == KINDS[dtype]
    assert arrow[f"v.{dtype}"].to_pylist() == ROWS[dtype]
    assert arrow[f"v.{dtype}.status"].to_pylist() == ["PRESENT", "NULL", "PRESENT"]


@pytest.mark.parametrize("dtype", ROWS)
def test_an_arrow_column_has_the_same_type_when_it_is_whole_or_empty(dtype: str) -> None:
    whole = table(column(dtype, ROWS[dtype][::2] + ROWS[dtype][:1])).to_arrow(statuses=False)
    empty = FeatureTable([column(dtype, [])]).to_arrow()
    for arrow in (whole, empty):
        arrow.validate(full=True)
        assert arrow[f"v.{dtype}"].type == KINDS[dtype]
        assert arrow[f"v.{dtype}"].null_count == 0
    assert whole.column_names == ["user_id", f"v.{dtype}"]
    assert len(empty) == 0


def test_statuses_and_event_times_stand_beside_their_feature() -> None:
    stale = column("float32", [1.0, 2.0, None], 4, 5, 3)
    times = _pack.column("", [AT, AT, 0], DType.parse("timestamp"), "f").values
    stale.event_times_us.CopyFrom(times)
    arrow = table(stale).to_arrow()
    assert arrow["v.float32.status"].to_pylist() == ["STALE", "DEFAULTED", "NOT_FOUND"]
    assert arrow["v.float32"].to_pylist() == [1.0, 2.0, None]
    assert arrow["v.float32.event_time"].to_pylist() == [AT, AT, None]
    frame = table(stale).to_pandas()
    assert list(frame["v.float32.status"]) == ["STALE", "DEFAULTED", "NOT_FOUND"]
    assert str(frame["v.float32.event_time"].dtype) == "datetime64[us, UTC]"
    assert frame["v.float32.event_time"][0] == pd.Timestamp(AT)
    assert frame["v.float32.event_time"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("bool", "boolean"),
        ("int32", "Int32"),
        ("int64", "Int64"),
        ("float16", "float16"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("string", "string"),
        ("timestamp", "datetime64[us, UTC]"),
        ("float32[2]", "object"),
        ("int64[]", "object"),
    ],
)
def test_a_pandas_column_has_one_dtype_when_values_are_missing_or_not(dtype: str, kind: str) -> None:
    name = f"v.{dtype}"
    holed = table(column(dtype, ROWS[dtype])).to_pandas()
    whole = table(column(dtype, ROWS[dtype][::2] + ROWS[dtype][:1])).to_pandas(statuses=False)
    empty = FeatureTable([column(dtype, [])]).to_pandas()
    assert [str(frame[name].dtype) for frame in (holed, whole, empty)] == [kind] * 3
    assert holed[name].isna().tolist() == [False, True, False]
    assert list(holed.columns) == ["user_id", name, f"{name}.status"]
    assert list(whole.columns) == ["user_id", name]
    assert holed["user_id"].tolist() == [7, 8, 9]
    first = holed[name][0]
    plain = first.tolist() if isinstance(first, np.ndarray) else first
    assert plain == (pd.Timestamp(AT) if dtype == "timestamp" else ROWS[dtype][0])
    holed.loc[0, name] = None  # a frame is the caller's own


@pytest.mark.parametrize(("method", "package"), [("to_arrow", "pyarrow"), ("to_pandas", "pandas")])
def test_the_missing_package_is_named(method: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotUsable, match=rf"pip install 'forebay\[{method.removeprefix('to_')}\]'"):
        getattr(table(), method)()
