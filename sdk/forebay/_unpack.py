"""The wire's columns into Python's lists, or numpy's arrays where it is installed."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

from forebay._dtypes import BY_NUMBER, STRING, TIMESTAMP, Scalar
from forebay._numpy import installed_numpy
from forebay._times import moment
from forebay.errors import Internal
from forebay.types import Status
from forebay.v1 import values_pb2 as pb

ABSENT = (Status.NULL, Status.NOT_FOUND, Status.ERROR)
"""The statuses of rows that have no value."""


class ColumnView:
    """One column of an answer, unpacked when first looked at."""

    __slots__ = ("_column", "_values", "name")

    def __init__(self, column: pb.Column) -> None:
        self.name = column.name
        self._column = column
        self._values: Any = None

    def __len__(self) -> int:
        return row_count(self._column.values)

    @property
    def message(self) -> pb.Column:
        """The column as it came."""
        return self._column

    @property
    def values(self) -> Any:
        """The rows' values: an array with numpy (NaN or NaT where absent; other types see `statuses`), else a
        list with None where absent. Strings and variable lists are lists either way."""
        if self._values is None:
            self._values = _values(self._column)
        return self._values

    @property
    def statuses(self) -> Any:
        """A `Status` per row: a uint8 array with numpy, else a list."""
        numpy = installed_numpy()
        raw = self._column.statuses or bytes([Status.PRESENT]) * row_count(self._column.values)
        return [Status(status) for status in raw] if numpy is None else numpy.frombuffer(raw, numpy.uint8)

    @property
    def event_times(self) -> Any:
        """A time per row, absent where the row was not found: datetime64 with numpy, else datetimes."""
        if not self._column.HasField("event_times_us"):
            return None
        return _event_times(self._column.event_times_us)

    def row(self, position: int) -> Any:
        """Return one row's value as Python's own type (lists as arrays with numpy); None where absent."""
        numpy = installed_numpy()
        if self.status(position) in ABSENT:
            return None
        found = self.values[position]
        if numpy is None or not isinstance(found, numpy.generic):
            return found
        if found.dtype.kind == "M":
            return moment(int(found.astype("int64")))
        return found.item()

    def status(self, position: int) -> Status:
        """Return one row's status."""
        statuses = self._column.statuses
        return Status(statuses[position]) if statuses else Status.PRESENT


def row_count(tensor: pb.Tensor) -> int:
    """Return the size of the first dimension."""
    return tensor.shape[0] if tensor.shape else 0


def _values(column: pb.Column) -> Any:
    numpy = installed_numpy()
    tensor = column.values
    scalar = scalar_of(tensor, column.name)
    absent = [status in ABSENT for status in column.statuses]
    if scalar is STRING:
        return _blanked(_nested(list(tensor.strings), tensor), absent)
    if numpy is None:
        return _blanked(_nested(_elements(tensor, scalar, column.name), tensor), absent)
    elements = numpy.frombuffer(tensor.data, scalar.numpy)
    if scalar is TIMESTAMP:
        elements = elements.astype("datetime64[us]")
    if _is_variable(tensor):
        return _blanked(_split(elements, tensor), absent)
    return _marked(elements.reshape(tuple(tensor.shape)), absent)


def scalar_of(tensor: pb.Tensor, name: str) -> Scalar:
    """Return a tensor's element type. Raises: Internal for one that is newer than this client."""
    try:
        return BY_NUMBER[tensor.dtype]
    except KeyError:
        message = f"column {name} has element type {tensor.dtype}, which this version of forebay doesn't know"
        raise Internal(message) from None


def _elements(tensor: pb.Tensor, scalar: Scalar, name: str) -> list[Any]:
    count = len(tensor.data) // scalar.size_bytes
    elements: list[Any] = list(struct.unpack(f"<{count}{scalar.code}", tensor.data))
    return [moment(element) for element in elements] if scalar is TIMESTAMP else elements


def _nested(elements: list[Any], tensor: pb.Tensor) -> list[Any]:
    """Rows out of flat elements."""
    if _is_variable(tensor):
        return _split(elements, tensor)
    if len(tensor.shape) < 2:
        return elements
    width = tensor.shape[1]
    return [elements[start : start + width] for start in range(0, tensor.shape[0] * width, width or 1)]


def _split(elements: Any, tensor: pb.Tensor) -> list[Any]:
    return [elements[start:end] for start, end in pairwise(tensor.offsets)]


def _is_variable(tensor: pb.Tensor) -> bool:
    return len(tensor.shape) == 2 and tensor.shape[1] == -1


def _blanked(rows: list[Any], absent: list[bool]) -> list[Any]:
    if not any(absent):
        return rows
    return [None if gone else row for row, gone in zip(rows, absent, strict=True)]


def _marked(array: Any, absent: list[bool]) -> Any:
    numpy = installed_numpy()
    if numpy is None or not any(absent) or array.dtype.kind not in "fM":
        return array
    marked = array.copy()
    marked[numpy.array(absent)] = numpy.datetime64("NaT") if array.dtype.kind == "M" else numpy.nan
    return marked


def _event_times(tensor: pb.Tensor) -> Any:
    numpy = installed_numpy()
    if numpy is None:
        times = struct.unpack(f"<{len(tensor.data) // 8}q", tensor.data)
        return [moment(time) if time else None for time in times]
    times_us = numpy.frombuffer(tensor.data, "<i8")
    return numpy.where(times_us == 0, numpy.datetime64("NaT"), times_us.astype("datetime64[us]"))
