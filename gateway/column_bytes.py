"""Columns of numbers onto the wire without messages. A read has as many columns as features, and to make and
fill a message costs several times what its elements do. What else a column may hold goes by `convert.py`."""

from __future__ import annotations

import numpy as np
from forebay.v1 import values_pb2 as pb
from numpy.typing import NDArray

from gateway.convert import WIRE_DTYPES, Values, fill_column
from registry.dtypes import Scalar

_KEPT_PREFIXES = 4_096
"""Prefixes that are kept, each some 40 bytes: one per feature, number of rows and whether it has statuses."""

_REPEATED = b"\x0a"  # field 1 of the response, and of a column its name
_VALUES, _STATUSES = b"\x12", b"\x1a"  # fields 2 and 3 of Column
_DTYPE, _SHAPE, _DATA = b"\x08", b"\x12", b"\x1a"  # fields 1, 2 (packed) and 3 of Tensor


class ColumnWriter:
    """Writes columns as field 1, repeated, of a message: serialised, one after another, they are it. Not for
    several threads at once.

    What comes before a column's elements is the same for every read of as many rows, and kept.
    """

    __slots__ = ("_prefixes",)

    def __init__(self) -> None:
        self._prefixes: dict[tuple[str, Scalar, tuple[int, ...], bool], bytes] = {}

    def write(
        self,
        parts: list[bytes],
        name: str,
        values: Values,
        scalar: Scalar,
        statuses: bytes,
        event_times_us: NDArray[np.int64] | None,
    ) -> None:
        """Append a column to `parts`. `statuses` as `statuses_bytes` gives them.

        Cost: about 1 us and a copy of the elements; 5 us for strings, variable lists and event times.
        """
        if event_times_us is not None or not isinstance(values, np.ndarray) or scalar is Scalar.STRING:
            parts.append(_by_message(name, values, scalar, statuses, event_times_us))
            return
        data = (values if values.dtype == scalar.numpy else values.astype(scalar.numpy)).tobytes()
        key = name, scalar, values.shape, bool(statuses)
        prefix = self._prefixes.get(key)
        if prefix is None:
            if len(self._prefixes) >= _KEPT_PREFIXES:
                self._prefixes.clear()
            prefix = self._prefixes[key] = _prefix(name, scalar, values.shape, len(data), len(statuses))
        parts.append(prefix)
        parts.append(data)
        if statuses:
            parts.append(_sized(_STATUSES, statuses))


def _prefix(name: str, scalar: Scalar, shape: tuple[int, ...], data_bytes: int, status_count: int) -> bytes:
    """Return the bytes of a column up to its elements; its statuses, which follow them, are counted in."""
    dtype = _DTYPE + _varint(WIRE_DTYPES[scalar])
    tensor = dtype + _sized(_SHAPE, b"".join(map(_varint, shape))) + _DATA + _varint(data_bytes)
    head = _sized(_REPEATED, name.encode()) + _VALUES + _varint(len(tensor) + data_bytes) + tensor
    tail_bytes = len(_STATUSES) + len(_varint(status_count)) + status_count if status_count else 0
    return _REPEATED + _varint(len(head) + data_bytes + tail_bytes) + head


def _by_message(
    name: str,
    values: Values,
    scalar: Scalar,
    statuses: bytes,
    event_times_us: NDArray[np.int64] | None,
) -> bytes:
    message = pb.Column()
    fill_column(message, name, values, scalar, None, event_times_us)
    message.statuses = statuses
    return _sized(_REPEATED, message.SerializeToString())


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return a number, not negative, as protobuf writes it: seven bits a byte, the lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
