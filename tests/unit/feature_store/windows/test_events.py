"""Blocks of events: what they refuse."""

from typing import Any

import numpy as np
import pytest

from feature_store.windows.events import MAX_EVENTS, EventBlock, Source


def block(**changes: Any) -> EventBlock:
    columns: dict[str, Any] = {
        "source": Source(1, 2),
        "texts": ["a", "b"],
        "event_times_us": np.array([5, 6]),
        "positions": np.array([0, 1]),
        "values": {"x": np.array([1.0, np.nan]), "y": np.array([1, 2], np.float32)},
    }
    return EventBlock(**{**columns, **changes})


def test_a_block_has_as_many_events_as_keys() -> None:
    assert len(block()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ["a"]}, "event_times_us has shape"),
        ({"texts": ["a"] * (MAX_EVENTS + 1)}, "at most"),
        ({"event_times_us": np.array([5.0, 6.0])}, "event_times_us has"),
        ({"event_times_us": np.array([5, 2**53])}, "event times lie within"),
        ({"event_times_us": np.array([-(2**53), 5])}, "event times lie within"),
        ({"positions": np.array([1, 1])}, "positions"),
        ({"positions": np.array([-1, 1])}, "positions"),
        ({"values": {"x": np.array([1.0])}}, "x has shape"),
        ({"values": {"x": np.array([1, 2])}}, "x has shape"),
        ({"values": {"x": np.array([1.0, np.inf])}}, "x has an infinite value"),
    ],
)
def test_a_block_is_refused_when_a_column_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block(**changes)


@pytest.mark.parametrize(("incarnation", "partition"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32)])
def test_a_source_is_refused_when_it_does_not_fit_a_row(incarnation: int, partition: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Source(incarnation, partition)
