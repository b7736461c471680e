"""Rows into blocks: statuses, ages, corrupt rows, older schemas."""

from typing import Any

import numpy as np
import pytest
from forebay.errors import InvalidRequest, NotFound, NotUsable

from feature_store.codec import ViewReader
from feature_store.schema import RowSchema
from feature_store.types import Status
from tests.support.feature_rows import NOW_US, encode, plain, schema, view

PRESENT, NULL, NOT_FOUND, STALE, DEFAULTED, ERROR = (int(status) for status in Status)
HOUR_US = 3_600_000_000
MIXED = schema(
    1, {"a": 9.0, "s": "none", "l": [7]}, a="float32", i="int32", s="string", l="int64[]", v="float32[2]"
)
ROWS = {"a": [1.0, None], "i": [5, None], "s": ["x", None], "l": [[1, 2], None], "v": [[1.0, 2.0], None]}


def swap_reader(stored: RowSchema, *older: RowSchema, **options: Any) -> ViewReader:
    return ViewReader(view(stored, *older, **options), 1, NOW_US)


def test_statuses_tell_null_missing_and_default_apart_when_rows_are_mixed() -> None:
    block = swap_reader(MIXED).decode([*encode(MIXED, ROWS), None], NOW_US)
    assert block.row_statuses.tolist() == [PRESENT, PRESENT, NOT_FOUND]
    for name in ("a", "s", "l"):
        assert block.statuses(name).tolist() == [PRESENT, DEFAULTED, DEFAULTED]
    for name in ("i", "v"):
        assert block.statuses(name).tolist() == [PRESENT, NULL, NOT_FOUND]
    assert plain(block.column("s").values, [1, 5, 5]) == ["x", "none", "none"]
    assert plain(block.column("l").values, [1, 5, 5]) == [[1, 2], [7], [7]]


def test_statuses_cost_nothing_when_all_rows_are_whole() -> None:
    stored = schema(1, a="float32", b="float32")
    block = swap_reader(stored).decode(encode(stored, {"a": [1, 2], "b": [3, 4]}), NOW_US)
    assert block.statuses("a") is block.row_statuses
    assert block.column("a").values.base is block.column("b").values.base  # type: ignore[union-attr]


@pytest.mark.parametrize(("age_us", "status"), [(HOUR_US, PRESENT), (HOUR_US + 1, STALE), (-5, PRESENT)])
def test_a_swap_view_is_as_old_as_its_generation_when_read(age_us: int, status: int) -> None:
    stored = schema(1, a="float32", b="float32")
    reader = ViewReader(view(stored, max_age_us=HOUR_US), 1, NOW_US - age_us)
    block = reader.decode([*encode(stored, {"a": [1], "b": [None]}, write_us=1), None], NOW_US)
    assert block.statuses("a").tolist() == [status, NOT_FOUND]
    assert block.statuses("b").tolist() == [NULL, NOT_FOUND]
    assert block.column("a").values.tolist()[0] == 1.0  # type: ignore[union-attr]
    assert block.as_of_us.tolist() == [NOW_US - age_us, 0]
    assert block.oldest_as_of_us == NOW_US - age_us


def test_an_upserted_row_is_as_old_as_its_write_when_read() -> None:
    stored = schema(1, a="float32")
    reader = ViewReader(view(stored, max_age_us=HOUR_US, publish="upsert"), 0, None)
    writes = [NOW_US, NOW_US - HOUR_US, NOW_US - HOUR_US - 1]
    rows = [encode(stored, {"a": [1]}, event_us=1, write_us=write)[0] for write in writes]
    block = reader.decode([*rows, None], NOW_US)
    assert block.row_statuses.tolist() == [PRESENT, PRESENT, STALE, NOT_FOUND]
    assert block.as_of_us.tolist() == [*writes, 0]
    assert block.oldest_as_of_us == writes[2]
    assert reader.decode(rows[:2], NOW_US).row_statuses.tolist() == [PRESENT, PRESENT]


def test_every_row_is_absent_when_a_view_was_never_refreshed() -> None:
    reader = ViewReader(view(MIXED, max_age_us=HOUR_US), None, None)
    assert not reader.published
    assert reader.row_keys(["1", "2"]) == []
    block = reader.absent(2)
    assert block.row_statuses.tolist() == [NOT_FOUND] * 2
    assert block.statuses("a").tolist() == [DEFAULTED] * 2
    assert block.oldest_as_of_us is None


def test_a_reader_is_refused_when_a_generation_has_no_as_of_time() -> None:
    with pytest.raises(ValueError, match="as-of"):
        ViewReader(view(MIXED), 4, None)


def test_row_keys_name_entity_view_and_generation_when_made() -> None:
    assert swap_reader(MIXED).row_keys(["42"]) == [b"f{3:42}7:1"]


def test_an_empty_block_is_made_when_there_are_no_rows() -> None:
    block = swap_reader(MIXED).decode([], NOW_US)
    assert len(block) == 0
    assert block.column("s").values == []
    assert block.column("a").values.tolist() == []  # type: ignore[union-attr]
    assert block.column("l").values.count == 0  # type: ignore[union-attr]


CORRUPTIONS = {
    "empty": lambda row: b"",
    "header only": lambda row: row[:20],
    "cut": lambda row: row[:-1],
    "longer": lambda row: row + b"\0",
    "version": lambda row: row[:2] + b"\x09" + row[3:],
    "flags": lambda row: row[:3] + b"\x80" + row[4:],
    "schema": lambda row: b"\xff\xff" + row[2:],
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
@pytest.mark.parametrize("stored", [MIXED, schema(1, {"a": 9.0}, a="float32", i="int32", v="float32[2]")])
def test_only_the_corrupt_row_is_in_error_when_bytes_are_wrong(stored: RowSchema, corrupt: Any) -> None:
    good, bad = encode(stored, ROWS)
    reader = swap_reader(stored)
    block = reader.decode([good, corrupt(bad), None], NOW_US)
    assert block.row_statuses.tolist() == [PRESENT, ERROR, NOT_FOUND]
    assert block.corrupt_count == 1
    assert np.array_equal(block.error_rows, [1])
    assert block.statuses("a").tolist() == [PRESENT, ERROR, DEFAULTED]
    out = np.zeros((3, 4), np.float32)
    block.gather(reader.gather_spec(["a", "i", "v"], [0, 1, 2]), out)
    np.testing.assert_array_equal(out[0], [1, 5, 1, 2])
    np.testing.assert_array_equal(out[1], [np.nan] * 4)
    np.testing.assert_array_equal(out[2], [9, np.nan, np.nan, np.nan])


def test_no_value_goes_to_the_wrong_row_when_wrong_lengths_add_up() -> None:
    stored = schema(1, a="float32")
    first, second = encode(stored, {"a": [1, 2]})
    block = swap_reader(stored).decode([b"", first + second], NOW_US)
    assert block.row_statuses.tolist() == [ERROR, ERROR]


def test_a_string_is_in_error_when_it_is_not_utf8() -> None:
    stored = schema(1, {"s": "none"}, a="float32", s="string")
    rows = encode(stored, {"a": [1, 2, 3], "s": ["x\0y", "abc", None]})
    rows[1] = rows[1][:-1] + b"\xff"
    block = swap_reader(stored).decode(rows, NOW_US)
    assert block.row_statuses.tolist() == [PRESENT] * 3
    assert block.statuses("s").tolist() == [PRESENT, ERROR, DEFAULTED]
    assert block.column("s").values == ["x\0y", "", "none"]
    assert block.corrupt_count == 1
    assert block.column("a").values.tolist() == [1, 2, 3]  # type: ignore[union-attr]


def test_strings_come_back_when_they_hold_nul() -> None:
    stored = schema(1, s="string")
    block = swap_reader(stored).decode(encode(stored, {"s": ["x\0y", "", "z"]}), NOW_US)
    assert block.column("s").values == ["x\0y", "", "z"]


def test_ends_are_checked_when_they_do_not_ascend_or_split_an_element() -> None:
    stored = schema(1, s="string", l="int64[]")
    (row,) = encode(stored, {"s": ["abcdefgh"], "l": [[1]]})
    ends = len(row) - 16 - 8
    for first in (4, 17):
        bad = row[:ends] + first.to_bytes(4, "little") + row[ends + 4 :]
        assert swap_reader(stored).decode([bad], NOW_US).row_statuses.tolist() == [ERROR]


def test_rows_are_converted_when_a_feature_was_widened() -> None:
    older = schema(1, i="int32", f="float16", n="int32", l="int32[]", gone="string", t="float64")
    newer = schema(
        2, {"new": 4.0}, l="int64[]", new="float32", n="float64", f="float64", i="int64", t="float32"
    )
    table = {
        "i": [1, None],
        "f": [0.5, None],
        "n": [3, None],
        "l": [[1, 2], None],
        "gone": ["x", "y"],
        "t": [1, 2],
    }
    now = {"i": [6], "f": [7], "n": [8], "l": [[9]], "new": [10], "t": [11]}
    block = swap_reader(newer, older).decode([*encode(older, table), *encode(newer, now)], NOW_US)
    expected = {"i": [1, None, 6], "f": [0.5, None, 7], "n": [3, None, 8], "l": [[1, 2], None, [9]]}
    for name, values in expected.items():
        column = block.column(name)
        assert column.statuses.tolist() == [PRESENT, NULL, PRESENT]
        assert plain(column.values, column.statuses.tolist()) == values
    assert block.column("new").statuses.tolist() == [DEFAULTED, DEFAULTED, PRESENT]
    assert block.column("t").statuses.tolist() == [NULL, NULL, PRESENT]  # narrower: values could be lost


def test_unknown_features_are_not_found_when_asked_for() -> None:
    reader = swap_reader(MIXED)
    with pytest.raises(NotFound):
        reader.absent(1).column("x")
    with pytest.raises(NotFound):
        reader.absent(1).statuses("x")
    with pytest.raises(NotFound):
        reader.gather_spec(["x"], [0])


@pytest.mark.parametrize("name", ["s", "l"])
def test_gather_is_refused_when_a_feature_has_no_fixed_width(name: str) -> None:
    with pytest.raises(NotUsable, match=name):
        swap_reader(MIXED).gather_spec([name], [0])


@pytest.mark.parametrize("default", ["x", 2**40, 1.5, [1, 2]])
def test_a_reader_is_refused_when_a_default_is_not_of_its_type(default: Any) -> None:
    with pytest.raises((InvalidRequest, ValueError)):
        swap_reader(schema(1, {"i": default}, i="int32", f="float32"))
