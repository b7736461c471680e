"""Rows written at any version of a view, read at any later one: every allowed change, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.codec import ViewReader
from feature_store.schema import Feature, RowSchema
from feature_store.types import Status
from registry.dtypes import DType, Scalar, widens
from tests.support.examples import examples
from tests.support.feature_rows import NOW_US, encode, plain, tables, view

QUICK = settings(deadline=None, max_examples=examples(40))
NAMES = "abcd"
DTYPES = tuple(
    DType.parse(scalar.value + form)
    for scalar in Scalar
    for form in ("", "[2]", "[]")
    if scalar is not Scalar.STRING or not form
)
Written = list[tuple[RowSchema, dict[str, list[Any]], bytes]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[RowSchema], Written]:
    """Draw the versions of an upserted view, and a row written at each: features are added, dropped, come
    back, are widened and reordered."""
    kept: dict[str, DType] = {}
    schemas: list[RowSchema] = []
    written: Written = []
    for schema_id in range(1, draw(st.integers(2, 5)) + 1):
        names = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
        for name in names:
            allowed = DTYPES if name not in kept else [dtype for dtype in DTYPES if widens(kept[name], dtype)]
            kept[name] = draw(st.sampled_from(allowed))
        schema = RowSchema(schema_id, tuple(Feature(name, kept[name]) for name in names))
        table = draw(tables(schema, 1))
        schemas.append(schema)
        written.append((schema, table, encode(schema, table)[0]))
    return schemas, written


@QUICK
@given(histories())
def test_rows_of_every_version_are_read_right_at_every_later_one(
    history: tuple[list[RowSchema], Written],
) -> None:
    schemas, written = history
    for place, schema in enumerate(schemas):
        earlier = written[: place + 1]
        reader = ViewReader(view(schema, *schemas[:place]), 1, NOW_US)
        block = reader.decode([row for _, _, row in earlier], NOW_US)
        assert block.corrupt_count == 0
        for feature in schema.features:
            column = block.column(feature.name)
            statuses = column.statuses.tolist()
            found = plain(column.values, statuses)
            for (old, table, _), status, value in zip(earlier, statuses, found, strict=True):
                given = table[feature.name][0] if feature.name in old.by_name else None
                assert status == (Status.NULL if given is None else Status.PRESENT)
                assert value == given


@QUICK
@given(histories())
def test_a_server_of_an_earlier_release_says_that_it_cannot_read_a_newer_row(
    history: tuple[list[RowSchema], Written],
) -> None:
    schemas, written = history
    for place, schema in enumerate(schemas[:-1]):
        reader = ViewReader(view(schema, *schemas[:place]), 1, NOW_US)
        newer = [row for _, _, row in written[place + 1 :]]
        block = reader.decode(newer, NOW_US)
        assert block.row_statuses.tolist() == [Status.ERROR] * len(newer)
