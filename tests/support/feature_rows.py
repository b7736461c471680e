"""Schemas, values and views of the feature store for tests, and the strategies that draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from feature_store.codec import RowEncoder
from feature_store.schema import Feature, FeatureView, RowSchema
from feature_store.types import KeyField
from registry.columns import ColumnData, VariableLists
from registry.dtypes import DType, Scalar, whole_range

NOW_US = 1_700_000_000_000_000

Table = Mapping[str, Sequence[Any]]
"""A feature's values by name: Python values, None where null, a list for a list."""


def schema(schema_id: int, defaults: Mapping[str, Any] | None = None, **dtypes: str) -> RowSchema:
    """Return a schema of these features, with these defaults."""
    features = (Feature(name, DType.parse(text), (defaults or {}).get(name)) for name, text in dtypes.items())
    return RowSchema(schema_id, tuple(features))


def view(
    schema: RowSchema,
    *older: RowSchema,
    max_age_us: int | None = None,
    publish: Literal["swap", "upsert"] = "swap",
) -> FeatureView:
    """Return a view of entity 3 with id 7 and one integer key."""
    key = (KeyField("id", DType(Scalar.INT64)),)
    return FeatureView("v", 7, "e", 3, key, schema, older, max_age_us, publish)


def column_data(dtype: DType, values: Sequence[Any]) -> ColumnData:
    """Return `values` as the encoder takes them."""
    nulls = np.array([value is None for value in values], np.bool_)
    if dtype.scalar is Scalar.STRING:
        return ColumnData(list(values))
    if dtype.is_variable:
        return ColumnData(VariableLists.of([value or [] for value in values], dtype.scalar.numpy), nulls)
    zero = [0] * dtype.length if dtype.is_list else 0
    array = np.array([zero if value is None else value for value in values], dtype.scalar.numpy)
    return ColumnData(array.reshape((-1, dtype.length) if dtype.is_list else -1), nulls)


def encode(schema: RowSchema, table: Table, event_us: int = 5, write_us: int = NOW_US) -> list[bytes]:
    """Return the rows of `table`."""
    columns = {feature.name: column_data(feature.dtype, table[feature.name]) for feature in schema.features}
    count = len(next(iter(table.values()))) if table else 0
    return RowEncoder(schema).encode(columns, np.full(count, event_us), write_us)


def plain(values: Any, statuses: Sequence[int]) -> list[Any]:
    """Return a FeatureColumn's values as Python's, None where the status says that there is none."""
    if isinstance(values, VariableLists):
        items = [
            values.values[a:b].tolist() for a, b in zip(values.offsets, values.offsets[1:], strict=False)
        ]
    else:
        items = values if isinstance(values, list) else values.tolist()
    return [item if status in (1, 4, 5) else None for item, status in zip(items, statuses, strict=True)]


def _elements(scalar: Scalar) -> st.SearchStrategy[Any]:
    if scalar is Scalar.BOOL:
        return st.booleans()
    if scalar is Scalar.STRING:
        return st.text(max_size=8)
    if scalar.is_float:
        return st.floats(width=8 * scalar.numpy.itemsize, allow_nan=False)  # type: ignore[arg-type]
    return st.integers(*whole_range(scalar))


def value_of(dtype: DType) -> st.SearchStrategy[Any]:
    """Draw a value, never null."""
    elements = _elements(dtype.scalar)
    if not dtype.is_list:
        return elements
    if dtype.is_variable_list:
        return st.lists(elements, max_size=4)
    return st.lists(elements, min_size=dtype.length, max_size=dtype.length)


@st.composite
def schemas(draw: st.DrawFn, schema_id: int = 1, names: str = "abcdefgh") -> RowSchema:
    """Draw a schema of up to eight features, some with defaults."""
    features = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names))):
        scalar = draw(st.sampled_from(list(Scalar)))
        forms = ["{}"] if scalar is Scalar.STRING else ["{}", "{}", "{}[1]", "{}[3]", "{}[]"]
        dtype = DType.parse(draw(st.sampled_from(forms)).format(scalar.value))
        features.append(Feature(name, dtype, draw(st.none() | value_of(dtype))))
    return RowSchema(schema_id, tuple(features))


@st.composite
def tables(draw: st.DrawFn, schema: RowSchema, count: int) -> dict[str, list[Any]]:
    """Draw `count` rows of values, some null."""
    return {
        feature.name: draw(st.lists(st.none() | value_of(feature.dtype), min_size=count, max_size=count))
        for feature in schema.features
    }
