"""What `select.where` asks of a feature, compiled: constants in the feature's own type, compared with a whole
column at once. Pure; `narrow.py` applies them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store.codec import FeatureColumn
from feature_store.types import NO_VALUE
from registry.dtypes import Scalar
from registry.pipeline_definitions import Condition as DeclaredCondition

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one feature must meet; all of `comparisons` must hold, and the value be among `members`, if given.

    Shapes: members (k,) of the feature's type; a set for strings.
    """

    view: str
    feature: str
    comparisons: tuple[tuple[Callable[[Any, Any], Any], Any], ...]
    members: NDArray[np.generic] | frozenset[str] | None

    def holds(self, column: FeatureColumn) -> NDArray[np.bool_]:
        """Return per row whether the value meets the condition, (n,); one that isn't there doesn't.

        Cost: a few array operations; for strings a few passes in C.
        """
        holds = ~np.isin(column.statuses, NO_VALUE)
        values = column.values if isinstance(column.values, np.ndarray) else np.array(column.values, object)
        for compare, constant in self.comparisons:
            holds &= compare(values, constant)
        if isinstance(self.members, frozenset):
            holds &= np.fromiter(map(self.members.__contains__, values.tolist()), np.bool_, len(values))
        elif self.members is not None:
            holds &= np.isin(values, self.members)
        return holds


def compile_condition(view: str, feature: str, scalar: Scalar, declared: DeclaredCondition) -> Condition:
    """Return the condition on a feature whose elements are `scalar`."""
    comparisons = tuple(
        (compare, _constant(scalar, value))
        for name, compare in _OPERATORS.items()
        if (value := getattr(declared, name)) is not None
    )
    return Condition(view, feature, comparisons, _members(scalar, declared.one_of))


def _constant(scalar: Scalar, value: Any) -> Any:
    """Return the constant as the column holds its values: a float32 is compared with a float32."""
    return value if scalar is Scalar.STRING else scalar.numpy.type(value)


def _members(scalar: Scalar, values: Sequence[Any] | None) -> NDArray[np.generic] | frozenset[str] | None:
    if values is None:
        return None
    return frozenset(values) if scalar is Scalar.STRING else np.array(values, scalar.numpy)
