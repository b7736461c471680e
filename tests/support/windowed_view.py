"""A view over a stream, its events, and what its windows are by a recount of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from feature_store.schema import Feature, FeatureView, RowSchema
from feature_store.types import KeyField
from feature_store.windows.events import EventBlock, Source
from feature_store.windows.ring_row import RingForm
from registry.data_definitions import Window
from registry.dtypes import DType, Scalar
from registry.rings import ring_of

MINUTE_US = 60_000_000
NOW_US = 1_700_000_000_000_000


def window(
    aggregate: str, field: str = "x", over: str = "10m", tile: str = "2m", **options: object
) -> Window:
    return Window.model_validate({aggregate: field, "over": over, "tile": tile, **options})


EVERY_AGGREGATE = {name: window(name) for name in ("count", "sum", "mean", "min", "max", "stddev", "last")}


def windowed_view(windows: Mapping[str, Window], max_age_us: int | None = 5 * MINUTE_US) -> FeatureView:
    features = tuple(Feature(name, one.dtype, one.default) for name, one in windows.items())
    return FeatureView(
        "trend",
        3,
        "user",
        2,
        (KeyField("user_id", DType(Scalar.INT64)),),
        RowSchema(1, features),
        max_age_us=max_age_us,
        publish="upsert",
        ring=RingForm(1, ring_of(windows.values())),
        windows=windows,
    )


class Rated(NamedTuple):
    """One event: an entity's key text, when, and a value or NaN."""

    text: str
    event_time_us: int
    value: float


def block_of(events: Sequence[Rated], source: Source, first: int = 0, field: str = "x") -> EventBlock:
    """Return events as a block whose positions count from `first`."""
    return EventBlock(
        source,
        [event.text for event in events],
        np.array([event.event_time_us for event in events], np.int64),
        np.arange(first, first + len(events), dtype=np.int64),
        {field: np.array([event.value for event in events], np.float64)},
    )


def recount(events: Iterable[Rated], text: str, window: Window, now_us: int) -> float:
    """Return a window of one entity, from the events alone; NaN for null."""
    after_us = now_us // window.tile_us * window.tile_us - window.over_us
    own = [
        (event.event_time_us, event.value)
        for event in events
        if event.text == text and after_us < event.event_time_us <= now_us and not math.isnan(event.value)
    ]
    values = [value for _, value in own]
    [aggregate] = window.aggregates
    match aggregate:
        case "count":
            return len(values)
        case "sum":
            return math.fsum(values)
        case "stddev":
            return statistics.stdev(values) if len(values) > 1 else math.nan
    if not values:
        return math.nan
    match aggregate:
        case "mean":
            return math.fsum(values) / len(values)
        case "last":
            return max(own)[1]
        case "min":
            return min(values)
        case _:
            return max(values)
