"""One event at a time: its payload taken apart, each value checked against its field. The slow path, which
finds out what is wrong with an event; `event_columns.py` is the fast one, and where it is content both agree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from jobs.stream.events import EventField
from jobs.stream.source import EventFormat
from registry.dtypes import Scalar
from registry.key_text import MAX_KEY_BYTES

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_FINITE = {"nan", "inf", "infinity"}
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_BITS = {Scalar.INT32: 31, Scalar.INT64: 63}
_LARGEST = {
    Scalar.FLOAT16: float(np.finfo(np.float16).max),
    Scalar.FLOAT32: float(np.finfo(np.float32).max),
    Scalar.FLOAT64: float(np.finfo(np.float64).max),
}
_SHOWN = 40


class EventError(ValueError):
    """What is wrong with an event."""


def values_of(payload: Any, layout: EventFormat, fields: Sequence[EventField]) -> list[Any]:
    """Return an event's values in the order of `fields`, None where null; what else it holds is passed over.

    Raises: EventError naming the field and the rule.
    """
    given = _pairs(payload) if layout == "fields" else _object(payload)
    values: list[Any] = []
    for field in fields:
        raw = given.get(field.name)
        value = None if raw is None else _value(raw, field)
        if value is None and field.required:
            raise EventError(f"{field.name} is missing")
        values.append(value)
    return values


def _pairs(payload: Sequence[bytes]) -> Mapping[str, Any]:
    names = [name.decode("utf-8", "replace") for name in payload[::2]]
    return dict(zip(names, payload[1::2], strict=True))


def _object(payload: bytes | None) -> Mapping[str, Any]:
    if not payload:
        raise EventError("the event is empty")
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise EventError("the event is no JSON") from error
    if not isinstance(found, dict):
        raise EventError("the event is no JSON object")
    return found


def _value(raw: Any, field: EventField) -> Any:
    scalar = field.dtype.scalar
    if isinstance(raw, bytes):
        try:
            raw = raw.decode()
        except UnicodeDecodeError as error:
            raise EventError(f"{field.name} is no UTF-8 text") from error
    if scalar is Scalar.STRING:
        if not isinstance(raw, str):
            raise EventError(f"{field.name} must be text")
        return _key_text(raw, field) if field.in_key else raw
    if scalar is Scalar.BOOL:
        return _bool(raw, field)
    if scalar is Scalar.TIMESTAMP:
        return timestamp_us(raw, field.name)
    return _float(raw, field) if scalar.is_float else _integer(raw, field)


def _key_text(text: str, field: EventField) -> str:
    if not text:
        raise EventError(f"{field.name} is empty, which is no key")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise EventError(f"{field.name} is no text that UTF-8 can write") from error
    if size_bytes > MAX_KEY_BYTES:
        raise EventError(f"{field.name} has {size_bytes} bytes; a key has at most {MAX_KEY_BYTES}")
    return text


def _bool(raw: Any, field: EventField) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw in _BOOLS:
        return _BOOLS[raw]
    raise EventError(f"{field.name} must be true or false, not {_shown(raw)}")


def _integer(raw: Any, field: EventField) -> int:
    if isinstance(raw, str) and _INTEGER.fullmatch(raw):
        raw = int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise EventError(f"{field.name} must be an integer, not {_shown(raw)}")
    limit = 1 << _BITS[field.dtype.scalar]
    if not -limit <= raw < limit:
        raise EventError(f"{field.name} is out of the range of {field.dtype}")
    return raw


def _float(raw: Any, field: EventField) -> float:
    if isinstance(raw, str):
        if raw.lower().lstrip("+-") in _NOT_FINITE:
            raise EventError(f"{field.name} is {raw[:_SHOWN]}, which is no value")
        if not _NUMBER.fullmatch(raw):
            raise EventError(f"{field.name} must be a number, not {_shown(raw)}")
        raw = float(raw)
    if not isinstance(raw, (int, float)) or isinstance(raw, bool):
        raise EventError(f"{field.name} must be a number, not {_shown(raw)}")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise EventError(f"{field.name} is {raw}, which is no value")
    if abs(raw) > _LARGEST[field.dtype.scalar]:
        raise EventError(f"{field.name} is out of the range of {field.dtype}")
    return float(raw)


def timestamp_us(raw: Any, name: str) -> int:
    """Return microseconds: a whole number is that already, a text is ISO 8601, UTC where it names no zone.

    Raises: EventError.
    """
    if isinstance(raw, str) and _INTEGER.fullmatch(raw):
        raw = int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        if not -(1 << 63) <= raw < 1 << 63:
            raise EventError(f"{name} is out of the range of timestamp")
        return raw
    if isinstance(raw, str):
        try:
            at = datetime.fromisoformat(raw)
            since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise EventError(f"{name} must be microseconds or ISO 8601, not {_shown(raw)}") from error
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    raise EventError(f"{name} must be microseconds or ISO 8601, not {_shown(raw)}")


def _shown(raw: Any) -> str:
    text = raw if isinstance(raw, str) else json.dumps(raw, default=str)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
