"""Arrow's numbers are numpy's, wherever in a buffer they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.arrow_numpy import numbers

TYPES = [
    *[pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()],
    *[pa.float16(), pa.float32(), pa.float64(), pa.bool_()],
]


@pytest.mark.parametrize("arrow_type", TYPES, ids=str)
@pytest.mark.parametrize("part", [slice(None), slice(3, 13), slice(11, 11), slice(9, None)], ids=str)
def test_numbers_are_those_of_the_array_when_a_part_of_it_is_taken(arrow_type: Any, part: slice) -> None:
    plain = np.arange(20) % 3
    array = pa.array((plain == 1) if arrow_type == pa.bool_() else plain.astype(arrow_type.to_pandas_dtype()))
    assert array.type == arrow_type
    found = numbers(array[part])
    assert found.tolist() == array[part].to_pylist()
    assert found.dtype == np.dtype(arrow_type.to_pandas_dtype())


def test_an_array_is_empty_when_it_was_made_of_nothing() -> None:
    assert numbers(pa.array([], pa.float32())).tolist() == []
    assert numbers(pa.array([], pa.bool_())).tolist() == []


def test_nulls_are_refused_when_there_are_any() -> None:
    with pytest.raises(ValueError, match="nulls"):
        numbers(pa.array([1, None]))
