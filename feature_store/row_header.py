"""The first 20 bytes of every row: which schema it has, and the two times that order writes. What follows
them is in layout.py. This much is the same in every format version, so that stores can order rows they can't
read.

    offset  0  u16  schema id
            2  u8   format version
            3  u8   flags
            4  i64  event time, microseconds UTC
           12  i64  write time, microseconds UTC, which is the batch's number too
    little-endian, no padding
"""

from __future__ import annotations

import struct

HEADER_BYTES = 20
FORMAT_VERSION = 1
HAS_NULLS = 1
"""A flag: at least one value of the row is null. Readers skip all looking for nulls where no row has it."""
TOMBSTONE = 2
"""A flag: there is no row, and nothing older than these times may become one. A tombstone is a header, of
schema id 0, and nothing else; it is read as a row that isn't there.
"""

MAX_TIME_US = 2**53 - 1
"""Times lie within plus or minus this (years 1684 to 2255), so that Lua's doubles hold them exactly."""

_HEADER = struct.Struct("<HBBqq")
_TIMES = struct.Struct("<qq")
_TIMES_OFFSET = 4
_VERSION_OFFSET = 2
_TOMBSTONE_HEAD = struct.pack("<HBB", 0, FORMAT_VERSION, TOMBSTONE)


def pack_header(schema_id: int, event_time_us: int, write_time_us: int, flags: int = 0) -> bytes:
    """Return the 20 bytes."""
    return _HEADER.pack(schema_id, FORMAT_VERSION, flags, event_time_us, write_time_us)


def pack_tombstone(time_us: int) -> bytes:
    """Return the tombstone of a deletion that was asked for at `time_us`. Raises: ValueError."""
    if not -MAX_TIME_US <= time_us <= MAX_TIME_US:
        raise ValueError(f"a deletion's time is within {MAX_TIME_US} microseconds of 1970")
    return pack_header(0, time_us, time_us, TOMBSTONE)


def is_tombstone(row: bytes) -> bool:
    """Return whether `row` says that there is none."""
    return len(row) == HEADER_BYTES and row.startswith(_TOMBSTONE_HEAD)


def row_times(row: bytes) -> tuple[int, int]:
    """Return (event time, write time) of a row of at least HEADER_BYTES; the greater pair is newer."""
    event_time_us, write_time_us = _TIMES.unpack_from(row, _TIMES_OFFSET)
    return event_time_us, write_time_us


def is_storable(row: bytes) -> bool:
    """Return whether `row` has a header of this format version with times in range."""
    if len(row) < HEADER_BYTES or row[_VERSION_OFFSET] != FORMAT_VERSION:
        return False
    return all(-MAX_TIME_US <= time_us <= MAX_TIME_US for time_us in row_times(row))
