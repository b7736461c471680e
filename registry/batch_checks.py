"""What a batch's rows must satisfy before they are published, as the application file declares it. The rules
for the declaration are in `data_checks.py`; `jobs/refresh_checks.py` holds a batch's rows against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from registry.fields import Count, Definition, Identifier

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole, from 0 to 1."""

Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""


class RowChecks(Definition):
    """Bounds of the number of rows that can be loaded: those with a key, the newest of each.

    `max_change` compares with the rows that are live: 0.5 refuses under half of them, and over one and a half
    times as many.
    """

    min: Count | None = None
    max: Count | None = None
    max_change: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class KeyChecks(Definition):
    """How many of a query's rows may lack a key, or repeat that of a newer row, at most."""

    missing: Share | None = None
    repeated: Share | None = None


class Range(Definition):
    """The least and the greatest value of a feature, both allowed; `[0, 5]` for short."""

    min: Number | None = None
    max: Number | None = None


def _range_long_form(value: object) -> object:
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) != 2:
        raise ValueError("a range is two numbers, [least, greatest], or {min: ..., max: ...}")
    return {"min": value[0], "max": value[1]}


_PAIR: Any = Annotated[list[float], Field(min_length=2, max_length=2)]
RangeForm = Annotated[Range, BeforeValidator(_range_long_form, json_schema_input_type=_PAIR | Range)]


class BatchChecks(Definition):
    """The checks of a view's batch. `nulls` is the share of a feature's values that may be null, at most."""

    rows: RowChecks = RowChecks()
    keys: KeyChecks = KeyChecks()
    nulls: Mapping[Identifier, Share] = Field(default_factory=dict)
    ranges: Mapping[Identifier, RangeForm] = Field(default_factory=dict)
