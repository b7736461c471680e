"""How the hand-written service keeps rows in Redis: msgpack lists, the columns in one fixed order."""

from __future__ import annotations

from typing import Any

import msgpack


def key(item_id: int, view: str) -> str:
    """Return the key of an item's row."""
    return f"item:{item_id}:{view}"


def packed(written_at_us: int, values: Any) -> bytes:
    """Return a row: when it was written, and its values (a list of floats, or a vector's bytes)."""
    row: bytes = msgpack.packb([written_at_us, values], use_single_float=True)
    return row


def unpacked(row: bytes | str) -> tuple[int, Any]:
    """Return when a row was written, and its values."""
    written_at_us, values = msgpack.unpackb(row)
    return written_at_us, values
