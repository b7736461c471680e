"""Scores as outputs or their columns."""

import numpy as np
import pytest
from forebay.errors import NotUsable
from numpy.typing import NDArray

from model_server.outputs import OutputColumn


@pytest.mark.parametrize(
    ("text", "output", "column"),
    [
        ("probability", "probability", None),
        ("probabilities[1]", "probabilities", 1),
        ("a[0][12]", "a[0]", 12),
        ("a[]", "a[]", None),
        ("a[-1]", "a[-1]", None),
        ("[1]", "[1]", None),
    ],
)
def test_a_column_is_named_when_the_text_ends_in_its_number(
    text: str, output: str, column: int | None
) -> None:
    assert OutputColumn.parse("s", text) == OutputColumn("s", output, column)


@pytest.mark.parametrize(
    ("value", "column", "expected"),
    [
        (np.array([1.5, 2.5], np.float32), None, [1.5, 2.5]),
        (np.array([[1.5], [2.5]], np.float32), None, [1.5, 2.5]),
        (np.array([[1.5], [2.5]], np.float32), 0, [1.5, 2.5]),
        (np.array([[1, 2], [3, 4]], np.float32), 1, [2, 4]),
        (np.array([7, 8], np.int64), None, [7, 8]),
        (np.empty((0, 3), np.float64), 2, []),
    ],
)
def test_each_row_has_a_float32_score_when_the_output_has_them(
    value: NDArray[np.generic], column: int | None, expected: list[float]
) -> None:
    scores = OutputColumn("s", "y", column).column_of(value)
    assert scores.tolist() == expected
    assert (scores.dtype, scores.flags.c_contiguous) == (np.float32, True)


@pytest.mark.parametrize(
    ("shape", "column", "message"),
    [
        ((4, 2), None, r"has 2 columns: name one, as y\[1\]"),
        ((4, 2), 2, "no column 2"),
        ((4, 0), None, "no column"),
        ((4,), 0, "1 dimension"),
        ((4, 1, 1), None, "3 dimensions"),
        ((), None, "0 dimensions"),
    ],
)
def test_an_output_is_refused_when_it_has_no_such_column(
    shape: tuple[int, ...], column: int | None, message: str
) -> None:
    with pytest.raises(NotUsable, match=message):
        OutputColumn("s", "y", column).column_of(np.zeros(shape, np.float32))
