"""Protobuf's own building blocks, for what is written onto the wire without messages: numbers and fields that
say their length. Which fields there are is known to `column_bytes.py` and `answer_form.py`."""

from __future__ import annotations

_UNSIGNED = (1 << 64) - 1


def varint(number: int) -> bytes:
    """Return a number of at most 64 bits as protobuf writes it: seven bits a byte, the lowest first; negative
    ones in two's complement."""
    if 0 <= number < len(_SHORT):
        return _SHORT[number]
    number &= _UNSIGNED
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def sized(tag: bytes, content: bytes) -> bytes:
    """Return a field of text, bytes or a message: its tag, its length, its content."""
    return tag + varint(len(content)) + content


_SHORT = [bytes((number,)) for number in range(0x80)]
_SHORT += [bytes((number & 0x7F | 0x80, number >> 7)) for number in range(0x80, 0x400)]
