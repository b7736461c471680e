"""What is written is read, whatever the schema, the values, the nulls and the gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.codec import RowBlock, ViewReader
from feature_store.schema import Feature, RowSchema
from feature_store.types import Status
from tests.support.examples import examples
from tests.support.feature_rows import NOW_US, encode, plain, schemas, tables, view

QUICK = settings(deadline=None, max_examples=examples(60))
Expected = tuple[list[Any], list[int]]


def expected_column(feature: Feature, values: list[Any], present: list[bool]) -> Expected:
    """Return what reading must give: values (None: none) and statuses."""
    default = feature.default
    column, statuses = [], []
    for value, there in zip(values, present, strict=True):
        if there and value is not None:
            column.append(value)
            statuses.append(Status.PRESENT)
        elif default is not None:
            column.append(default)
            statuses.append(Status.DEFAULTED)
        else:
            column.append(None)
            statuses.append(Status.NULL if there else Status.NOT_FOUND)
    return column, [int(status) for status in statuses]


def as_matrix(feature: Feature, values: list[Any]) -> np.ndarray[Any, Any]:
    width = feature.dtype.length
    filled = [[np.nan] * width if value is None else np.reshape(value, width).tolist() for value in values]
    stored = np.array(filled, np.float64).reshape(-1, width)
    if feature.dtype.scalar.is_float:
        stored = stored.astype(feature.dtype.scalar.numpy)
    with np.errstate(over="ignore"):
        return stored.astype(np.float32)


def check_together(reader: ViewReader, block: RowBlock) -> None:
    """Scalars that are given together are what each is by itself."""
    for name in reader.features:
        place = reader.scalar_place(name)
        together = block.scalar_bytes(place[0], [place[1]]) if place else None
        if together is not None:
            values, statuses = block.column(name)
            assert bytes(together[0]) == np.asarray(values).tobytes()
            assert statuses.tolist() == block.row_statuses.tolist()


def check_block(block: RowBlock, schema: RowSchema, table: dict[str, list[Any]], present: list[bool]) -> None:
    for feature in schema.features:
        column = block.column(feature.name)
        values, statuses = expected_column(feature, table[feature.name], present)
        assert column.statuses.tolist() == statuses
        assert block.statuses(feature.name).tolist() == statuses
        assert plain(column.values, statuses) == values


@st.composite
def stored(draw: st.DrawFn) -> tuple[RowSchema, dict[str, list[Any]], list[bool]]:
    schema = draw(schemas())
    count = draw(st.integers(1, 6))
    table = draw(tables(schema, count))
    return schema, table, draw(st.lists(st.booleans(), min_size=count, max_size=count))


def rows_of(schema: RowSchema, table: dict[str, list[Any]], present: list[bool]) -> list[bytes | None]:
    if not schema.features:
        return [encode(schema, {"x": [0]})[0] if there else None for there in present]
    rows = encode(schema, table)
    return [row if there else None for row, there in zip(rows, present, strict=True)]


@QUICK
@given(stored())
def test_columns_come_back_when_rows_are_decoded(
    drawn: tuple[RowSchema, dict[str, list[Any]], list[bool]],
) -> None:
    schema, table, present = drawn
    reader = ViewReader(view(schema), 1, NOW_US)
    block = reader.decode(rows_of(*drawn), NOW_US)
    assert block.row_statuses.tolist() == [1 if there else 3 for there in present]
    check_together(reader, block)
    assert block.event_times_us.tolist() == [5 if there else 0 for there in present]
    assert block.corrupt_count == 0
    check_block(block, schema, table, present)


@QUICK
@given(stored(), st.randoms(use_true_random=False))
def test_gather_equals_the_columns_when_features_are_in_any_order(
    drawn: tuple[RowSchema, dict[str, list[Any]], list[bool]], random: Any
) -> None:
    schema, table, present = drawn
    features = [feature for feature in schema.features if not feature.dtype.is_variable]
    random.shuffle(features)
    firsts, width = [], 1
    for feature in features:
        firsts.append(width)
        width += feature.dtype.length + random.randint(0, 1)
    reader = ViewReader(view(schema), 1, NOW_US)
    block = reader.decode(rows_of(*drawn), NOW_US)
    spec = reader.gather_spec([feature.name for feature in features], firsts)
    expected = np.full((len(present), width), -1, np.float32)
    for feature, first in zip(features, firsts, strict=True):
        values, _ = expected_column(feature, table[feature.name], present)
        expected[:, first : first + feature.dtype.length] = as_matrix(feature, values)
    out = np.full((len(present), width), -1, np.float32)
    block.gather(spec, out)
    np.testing.assert_array_equal(out, expected)
    picks = np.array([random.randrange(len(present)) for _ in range(4)])
    out = np.full((4, width), -1, np.float32)
    block.gather(spec, out, picks)
    np.testing.assert_array_equal(out, expected[picks])


@QUICK
@given(stored(), schemas(2), st.data())
def test_rows_of_both_schemas_are_read_by_name_when_a_view_changed(
    drawn: tuple[RowSchema, dict[str, list[Any]], list[bool]], newer: RowSchema, data: Any
) -> None:
    older, old_table, present = drawn
    new_table = data.draw(tables(newer, 2))
    reader = ViewReader(view(newer, older), 1, NOW_US)
    new_rows = rows_of(newer, new_table, [True, True])
    block = reader.decode([new_rows[0], *rows_of(*drawn), new_rows[1]], NOW_US)
    assert block.corrupt_count == 0
    kept = {feature.name: feature.dtype for feature in older.features}
    table = {}
    for feature in newer.features:
        same = kept.get(feature.name) == feature.dtype
        first, last = new_table[feature.name]
        table[feature.name] = [first, *(old_table[feature.name] if same else [None] * len(present)), last]
    unchanged = [
        feature for feature in newer.features if kept.get(feature.name, feature.dtype) == feature.dtype
    ]
    check_block(block, RowSchema(2, tuple(unchanged)), table, [True, *present, True])
    for feature in newer.features:
        assert len(block.column(feature.name).statuses) == len(present) + 2


@QUICK
@given(stored(), st.data())
def test_nothing_is_raised_when_bytes_are_flipped_cut_or_added(
    drawn: tuple[RowSchema, dict[str, list[Any]], list[bool]], data: Any
) -> None:
    schema, _, present = drawn
    rows = rows_of(*drawn)
    victim = data.draw(st.integers(0, len(rows) - 1))
    row = bytearray(rows[victim] or b"")
    if row:
        for _ in range(data.draw(st.integers(0, 3))):
            row[data.draw(st.integers(0, len(row) - 1))] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.integers(0, len(row)))
    rows[victim] = bytes(row[:kept]) + data.draw(st.binary(max_size=3))
    reader = ViewReader(view(schema), 1, NOW_US)
    block = reader.decode(rows, NOW_US)
    numeric = [feature for feature in schema.features if not feature.dtype.is_variable]
    firsts = np.cumsum([0] + [feature.dtype.length for feature in numeric]).tolist()
    spec = reader.gather_spec([feature.name for feature in numeric], firsts[:-1])
    with np.errstate(all="ignore"):
        block.gather(spec, np.empty((len(rows), firsts[-1]), np.float32))
    for feature in schema.features:
        assert len(block.column(feature.name).statuses) == len(rows)
    for index, there in enumerate(present):
        if index != victim:
            assert block.row_statuses[index] == (Status.PRESENT if there else Status.NOT_FOUND)
