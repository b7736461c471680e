"""Columns that are written without messages are what messages would have been."""

from __future__ import annotations

from typing import Any

import numpy as np
from forebay.v1 import features_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.column_bytes import ColumnWriter
from gateway.convert import fill_column, statuses_bytes
from registry.columns import VariableLists
from registry.dtypes import Scalar
from tests.support.examples import examples

NUMBERS = [scalar for scalar in Scalar if scalar is not Scalar.STRING]
SIZES = st.sampled_from([0, 1, 2, 31, 63, 64, 127, 128, 129, 520])
NAMES = st.sampled_from(["", "v.a", "é" * 63, "é" * 64, "x" * 127, "x" * 128])


class Column:
    """What is written of a column; hypothesis would spell out all of its elements."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


@st.composite
def columns(draw: st.DrawFn) -> Column:
    rows = draw(SIZES)
    scalar = draw(st.sampled_from(list(Scalar)))
    form = draw(st.sampled_from(["scalar", "list", "variable"])) if scalar in NUMBERS else "scalar"
    random = np.random.default_rng(draw(st.integers(0, 9)))

    def numbers(*shape: int) -> Any:
        drawn = random.integers(0, 100, shape)
        return np.asfortranarray(drawn.astype(scalar.numpy))

    values: Any
    if scalar is Scalar.STRING:
        values = [draw(st.sampled_from(["", "né"]))] * rows
    elif form == "variable":
        offsets = np.concatenate([[0], np.cumsum(random.integers(0, 3, rows))])
        values = VariableLists(numbers(int(offsets[-1])), offsets)
    else:
        values = numbers(rows) if form == "scalar" else numbers(rows, draw(st.sampled_from([1, 3, 40])))
    statuses = random.integers(1, draw(st.sampled_from([2, 6])), rows).astype(np.uint8)
    times = random.integers(0, 2**50, rows) if draw(st.booleans()) else None
    return Column(draw(NAMES), values, scalar, statuses, times)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(columns(), max_size=3))
def test_bytes_are_those_of_the_message_when_any_column_is_written(drawn: list[Column]) -> None:
    writer, expected = ColumnWriter(), features_pb2.ReadFeaturesResponse()
    parts: list[bytes] = []
    for column in drawn:
        name, values, scalar, statuses, times = column.parts
        for _ in range(2):  # the second with a kept prefix
            fill_column(expected.columns.add(), name, values, scalar, statuses, times)
            writer.write(parts, name, values, scalar, statuses_bytes(statuses), times)
    assert features_pb2.ReadFeaturesResponse.FromString(b"".join(parts)) == expected
