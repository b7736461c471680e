"""Lists laid end to end."""

from typing import Any

import numpy as np
import pytest

from registry.columns import ColumnData, VariableLists

LISTS = VariableLists.of([[1, 2], [], [3]], np.dtype("<i8"))


def test_lists_lie_end_to_end_when_made() -> None:
    assert LISTS.values.tolist() == [1, 2, 3]
    assert LISTS.offsets.tolist() == [0, 2, 2, 3]
    assert LISTS.lengths.tolist() == [2, 0, 1]
    assert LISTS.count == ColumnData(LISTS).count == 3


def test_lists_come_in_the_order_asked_for_when_taken() -> None:
    taken = LISTS.take(np.array([2, 0, 1, 0]))
    assert taken.values.tolist() == [3, 1, 2, 1, 2]
    assert taken.offsets.tolist() == [0, 1, 3, 3, 5]
    assert LISTS.take(np.array([], np.intp)).count == 0


@pytest.mark.parametrize(
    ("values", "offsets"),
    [
        (np.arange(3), []),
        (np.arange(3), [0, 2]),
        (np.arange(3), [1, 3]),
        (np.arange(3), [0, 2, 1, 3]),
        (np.arange(3), [0.0, 3.0]),
        (np.arange(3), [[0, 3]]),
        (np.zeros((3, 1)), [0, 3]),
    ],
)
def test_lists_are_not_sound_when_offsets_break_their_promise(values: Any, offsets: Any) -> None:
    assert LISTS.is_sound()
    assert not VariableLists(values, np.array(offsets)).is_sound()
