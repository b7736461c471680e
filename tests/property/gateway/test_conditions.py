"""What a condition keeps equals what plain Python comparisons of the typed values keep."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.codec import FeatureColumn
from feature_store.types import Status
from gateway.steps.conditions import compile_condition
from registry.constants import mismatch
from registry.dtypes import DType, Scalar
from registry.pipeline_definitions import Condition
from tests.support.examples import examples

OPERATORS = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
SCALARS = sorted(Scalar, key=lambda scalar: scalar.value)
SPECIAL = [0, 1, -1, 0.1, 2**24 + 1, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 1e300, 65504.0]


def values_of(scalar: Scalar) -> st.SearchStrategy[Any]:
    """Values that the file may write for the type."""
    if scalar is Scalar.BOOL:
        return st.booleans()
    if scalar is Scalar.STRING:
        return st.text(max_size=2) | st.sampled_from(["a", "b", "ä"])
    numbers = st.sampled_from(SPECIAL) | st.integers(-3, 3) | st.floats(allow_nan=False)
    if not scalar.is_float:
        numbers = st.sampled_from([value for value in SPECIAL if isinstance(value, int)]) | st.integers(-3, 3)
    return numbers.filter(lambda value: mismatch(value, DType(scalar)) is None)


def typed(scalar: Scalar, value: Any) -> Any:
    """Return the value as the type holds it, and as Python compares it exactly."""
    return value if scalar is Scalar.STRING else scalar.numpy.type(value).item()


@settings(max_examples=examples(120), deadline=None)
@given(data=st.data(), scalar=st.sampled_from(SCALARS))
def test_a_condition_keeps_what_plain_comparisons_keep(data: st.DataObject, scalar: Scalar) -> None:
    values = data.draw(st.lists(values_of(scalar), max_size=12))
    statuses = data.draw(st.lists(st.sampled_from(list(Status)), min_size=len(values), max_size=len(values)))
    names = data.draw(st.lists(st.sampled_from([*OPERATORS, "in"]), min_size=1, max_size=3, unique=True))
    written = {
        name: data.draw(
            st.lists(values_of(scalar), min_size=1, max_size=4) if name == "in" else values_of(scalar)
        )
        for name in names
    }
    column = FeatureColumn(
        values if scalar is Scalar.STRING else np.array(values, scalar.numpy), np.array(statuses, np.uint8)
    )
    condition = compile_condition("view", "feature", scalar, Condition.model_validate(written))
    expected = []
    for value, status in zip(values, statuses, strict=True):
        mine = typed(scalar, value)
        expected.append(
            status in (Status.PRESENT, Status.STALE, Status.DEFAULTED)
            and all(OPERATORS[name](mine, typed(scalar, written[name])) for name in names if name != "in")
            and mine in [typed(scalar, member) for member in written.get("in", [value])]
        )
    assert condition.holds(column).tolist() == expected
