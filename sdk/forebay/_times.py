"""Times between Python and the wire, where they are microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from forebay._numpy import is_scalar
from forebay.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(value: Any, field: str) -> int:
    """Return the microseconds of a datetime with a timezone, a numpy datetime64 (UTC), or an integer of them.

    Raises: InvalidRequest for anything else; a datetime without a timezone would be wrong by hours somewhere.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidRequest(
                f"{field}: a datetime needs a timezone, for example datetime.UTC", field=field
            )
        return (value - _EPOCH) // _MICROSECOND
    if is_scalar(value) and value.dtype.kind == "M":
        return int(value.astype("datetime64[us]").astype("int64"))
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        kind = type(value).__name__
        raise InvalidRequest(
            f"{field}: a time is a datetime or integer microseconds, not {kind}", field=field
        )
    return int(value)


def moment(microseconds: int) -> datetime:
    """Return a time of the wire as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
