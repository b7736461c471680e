"""Arrow arrays of numbers as numpy arrays of the same bytes. pyarrow's own `to_numpy` imports pandas where it
is installed: half a second, in which a refresh or a worker would stand still."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_NUMPY: dict[Any, np.dtype[Any]] = {
    pa.int8(): np.dtype("<i1"),
    pa.int16(): np.dtype("<i2"),
    pa.int32(): np.dtype("<i4"),
    pa.int64(): np.dtype("<i8"),
    pa.uint8(): np.dtype("<u1"),
    pa.uint16(): np.dtype("<u2"),
    pa.uint32(): np.dtype("<u4"),
    pa.uint64(): np.dtype("<u8"),
    pa.float16(): np.dtype("<f2"),
    pa.float32(): np.dtype("<f4"),
    pa.float64(): np.dtype("<f8"),
}


def numbers(array: Any) -> NDArray[Any]:
    """Return an array (n,) of integers, floats or booleans without nulls; not to be written to.

    Raises: KeyError for another type, ValueError where there are nulls. Cost: no copy; of booleans one.
    """
    if array.null_count:
        raise ValueError("an array with nulls has no numbers for them")
    _, data = array.buffers()
    count, start = len(array), array.offset
    if pa.types.is_boolean(array.type):
        packed = np.frombuffer(data or b"", np.uint8)
        return np.unpackbits(packed, bitorder="little")[start : start + count].view(np.bool_)
    dtype = _NUMPY[array.type]
    if not count:
        return np.empty(0, dtype)
    found: NDArray[Any] = np.frombuffer(data, dtype, count, start * dtype.itemsize)
    return found
