"""Durations as the application file writes them (`30s`, `25ms`, `7d`), held as integer microseconds."""

from __future__ import annotations

import re

from registry.problems import shown

_UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_PATTERN = re.compile(r"(\d{1,18})(us|ms|s|m|h|d)")
MAX_DURATION_US = 36_500 * _UNIT_US["d"]


def parse_duration_us(text: object) -> int:
    """Return the microseconds that `text` names.

    Raises: ValueError, with the form a duration has; zero and more than 100 years are no durations.
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f"{shown(text)} is no duration: write an integer and one of us, ms, s, m, h, d, such as 30s"
        )
    value_us = int(match[1]) * _UNIT_US[match[2]]
    if not 0 < value_us <= MAX_DURATION_US:
        raise ValueError("a duration is more than 0 and at most 36500d")
    return value_us


def format_duration(value_us: int) -> str:
    """Return the shortest text that parses to `value_us`."""
    for unit in ("d", "h", "m", "s", "ms"):
        if value_us and value_us % _UNIT_US[unit] == 0:
            return f"{value_us // _UNIT_US[unit]}{unit}"
    return f"{value_us}us"
