"""The variable part of rows: where each row's strings and lists lie, and a column of them made of their
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feature_store.column_values import tail_column
from feature_store.layout import ENDS, RowLayout, Slot
from registry.columns import ColumnData, VariableLists
from registry.dtypes import Scalar

_NUL = b"\0"


def tail_parts(
    layout: RowLayout, slot: Slot, records: NDArray[np.void], rows: Sequence[bytes]
) -> list[bytes]:
    """Return one feature's bytes of each row. Cost: one slice per row."""
    if len(layout.variable) == 1:
        return [row[layout.fixed_bytes :] for row in rows]
    ends = records[ENDS].astype(np.int64) + layout.fixed_bytes  # (n, variable)
    stops = ends[:, slot.tail].tolist()
    starts = ends[:, slot.tail - 1].tolist() if slot.tail else [layout.fixed_bytes] * len(rows)
    return [row[start:stop] for row, start, stop in zip(rows, starts, stops, strict=True)]


def default_part(slot: Slot) -> bytes:
    """Return the bytes of a variable feature's default."""
    feature = slot.feature
    if feature.dtype.scalar is Scalar.STRING:
        column = ColumnData([feature.default])
    else:
        column = ColumnData(VariableLists.of([feature.default], feature.dtype.scalar.numpy))
    return tail_column(feature, column, 1).parts[0]


def lists_of(scalar: Scalar, parts: Sequence[bytes]) -> VariableLists:
    """Return lists laid end to end from each one's bytes. Cost: one copy, no Python step per value."""
    dtype = scalar.numpy
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=offsets[1:])
    offsets //= dtype.itemsize
    joined = b"".join(parts)
    return VariableLists(np.frombuffer(joined, dtype) if joined else np.empty(0, dtype), offsets)


def strings_of(parts: Sequence[bytes]) -> tuple[list[str], NDArray[np.bool_] | None]:
    """Return the strings, and which rows are no UTF-8, if any: "" there.

    Cost: one decode of all bytes, and a split; one decode per row where some string holds a NUL or is
    corrupt.
    """
    try:
        texts = _NUL.join(parts).decode().split("\0") if parts else []
    except UnicodeDecodeError:
        return _strings_one_by_one(parts)
    return (texts, None) if len(texts) == len(parts) else _strings_one_by_one(parts)


def _strings_one_by_one(parts: Sequence[bytes]) -> tuple[list[str], NDArray[np.bool_] | None]:
    texts = [_text(part) for part in parts]
    corrupt = np.fromiter((text is None for text in texts), np.bool_, len(texts))
    return [text or "" for text in texts], corrupt if corrupt.any() else None


def _text(part: bytes) -> str | None:
    try:
        return part.decode()
    except UnicodeDecodeError:
        return None
