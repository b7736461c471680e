"""Protobuf's own building blocks, for what is written onto the wire without messages: numbers and fields that
say their length. Which fields there are is known to `column_bytes.py` and `answer_form.py`."""

from __future__ import annotations

_GROUP_BITS = 14
_LOW = (1 << _GROUP_BITS) - 1
_UNSIGNED = (1 << 64) - 1


def varint(number: int) -> bytes:
    """Return a number of at most 64 bits as protobuf writes it: seven bits a byte, the lowest first; negative
    ones in two's complement. Cost: a look-up for each 14 bits."""
    if 0 <= number <= _LOW:
        return _LAST[number]
    if number < 0:
        number &= _UNSIGNED
    groups = b""
    while number > _LOW:
        groups += _CONTINUED[number & _LOW]
        number >>= _GROUP_BITS
    return groups + _LAST[number]


def sized(tag: bytes, content: bytes) -> bytes:
    """Return a field of text, bytes or a message: its tag, its length, its content."""
    return tag + varint(len(content)) + content


# Of every number of 14 bits: as the end of a number, and as what more follows. 1.5 MB together.
_CONTINUED = [bytes((number & 127 | 128, number >> 7 | 128)) for number in range(1 << _GROUP_BITS)]
_LAST = [bytes((number,)) for number in range(128)]
_LAST += [bytes((number & 127 | 128, number >> 7)) for number in range(128, 1 << _GROUP_BITS)]
