"""Decoded events of a partition, column by column, and those that are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.definitions import Application, Stream
from registry.dtypes import DType, Scalar

Column = NDArray[Any] | list[Any]


@dataclass(frozen=True, slots=True)
class EventField:
    """One declared field. A `required` one is part of a key, or the event's time: it is never null. `in_key`:
    it is part of an entity's key, so that a text has 1 to MAX_KEY_BYTES bytes."""

    name: str
    dtype: DType
    required: bool
    in_key: bool = False

    @property
    def is_key_text(self) -> bool:
        """Whether its texts must be ones that a row can lie under."""
        return self.in_key and self.dtype.scalar is Scalar.STRING


@dataclass(frozen=True, slots=True)
class Events:
    """n events in the order of their partition.

    Shapes: positions and event_times_us (n,) int64. A column is (n,) int64 for a required integer, the
    declared float for a float, float64 for other numbers, bools and timestamps, NaN where null; a list of n
    texts, None where null, for strings.
    """

    positions: NDArray[np.int64]
    event_times_us: NDArray[np.int64]
    columns: Mapping[str, Column]

    @property
    def count(self) -> int:
        return len(self.positions)

    def where(self, chosen: NDArray[np.bool_]) -> Events:
        """Return the events that are chosen, (n,) bool."""
        if chosen.all():
            return self
        places = np.flatnonzero(chosen)
        return Events(
            self.positions[chosen],
            self.event_times_us[chosen],
            {name: _taken(column, places) for name, column in self.columns.items()},
        )


@dataclass(frozen=True, slots=True)
class Invalid:
    """An entry that is no event of its stream, and why. `payload` is what the source gave."""

    position: int
    reason: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a chunk of entries says."""

    events: Events
    invalid: Sequence[Invalid]


def event_fields(application: Application, name: str) -> tuple[EventField, ...]:
    """Return the fields of a declared stream. The keys of the entities whose views it feeds are required."""
    stream = application.streams[name]
    keys: set[str] = set()
    for view in application.views.values():
        if view.stream == name:
            keys |= set(application.entities[view.entity].key)
    required = {stream.event_time, stream.partition_by} | keys
    return tuple(
        EventField(field, dtype, field in required, field in keys) for field, dtype in stream.fields.items()
    )


def column_of(values: Sequence[Any], field: EventField) -> Column:
    """Return the column of Python values that fit the field, None where null."""
    scalar = field.dtype.scalar
    if scalar is Scalar.STRING:
        return list(values)
    if field.required and not scalar.is_float:
        return np.array(values, np.int64)
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    return numbers.astype(scalar.numpy) if scalar.is_float else numbers


def declared_source(stream: Stream) -> str:
    """Return which of the two kinds of source a stream declares."""
    return "redis" if stream.redis is not None else "kafka"


def _taken(column: Column, places: NDArray[np.intp]) -> Column:
    if isinstance(column, list):
        return [column[place] for place in places.tolist()]
    return column[places]
