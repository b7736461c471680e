"""The one table that maps error kinds to gRPC status codes, used by servers and clients alike, and the way
back from a failed call to a kind. Servers write what is read here in `runtime/rpc/status.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from forebay._rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from forebay._rpc.status_pb2 import Status
from forebay.errors import (
    Conflict,
    Corrupt,
    DeadlineExceeded,
    Denied,
    Error,
    Internal,
    InvalidRequest,
    NotFound,
    NotUsable,
    Overloaded,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from google.protobuf.message import DecodeError, Message

_Detail = TypeVar("_Detail", bound=Message)

DOMAIN: Final = "forebay"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

CODE_OF: Final[Mapping[type[Error], grpc.StatusCode]] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.ABORTED,
    NotUsable: grpc.StatusCode.FAILED_PRECONDITION,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Denied: grpc.StatusCode.PERMISSION_DENIED,
    Corrupt: grpc.StatusCode.DATA_LOSS,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    Internal: grpc.StatusCode.INTERNAL,
}

FOREIGN_CODES: Final[Mapping[grpc.StatusCode, type[Error]]] = {
    # Codes that forebay never answers with; a proxy, or gRPC itself, may.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.UNKNOWN: Internal,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
}

KIND_OF: Final[Mapping[grpc.StatusCode, type[Error]]] = {
    **{code: kind for kind, code in CODE_OF.items()},
    **FOREIGN_CODES,
}

_CODE_OF_NUMBER = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
_PUSHBACK = re.compile(r"\d{1,10}")


def error_of(code: grpc.StatusCode, message: str | None, trailers: Iterable[Any] | None) -> Error:
    """Return the error that a call's status and trailers stand for. Class names on the wire are not read."""
    return _error(code, message or code.name, _details_in(trailers))


def error_in(status: Status) -> Error:
    """Return the error that a status inside a message stands for."""
    code = _CODE_OF_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    return _error(code, status.message or code.name, _by_name(status))


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed. `after_s` is how long the server wants to be left alone before the same call is
    made again; None where it must not be: repeating wouldn't help, or the server said so."""

    error: Error
    after_s: float | None


def failure_of(code: grpc.StatusCode, message: str | None, trailers: Iterable[Any] | None) -> Failure:
    """Return how an attempt failed, by its status and trailers.

    Unavailable may be repeated, and so what the server cancelled, as gRPC's servers do to calls that outlast
    their stop; Overloaded only where the server says when. A pushback that is negative, or no number, forbids
    it (gRFC A6).
    """
    trailers = tuple(trailers or ())
    error = error_of(code, message, trailers)
    asked_s = _pushback_s(trailers)
    if isinstance(error, Overloaded):
        if error.retry_after_s is None and asked_s is not None and asked_s >= 0:
            error.retry_after_s = asked_s
        return Failure(error, error.retry_after_s if asked_s is None or asked_s >= 0 else None)
    if not isinstance(error, Unavailable):
        return Failure(error, None)
    return Failure(error, None if asked_s is not None and asked_s < 0 else asked_s or 0.0)


def _error(code: grpc.StatusCode, text: str, details: Mapping[str, bytes]) -> Error:
    info = _detail(details, ErrorInfo)
    if _is_size_limit(code, info, text):
        return InvalidRequest(text)
    error = KIND_OF[code](text)
    if isinstance(error, Overloaded):
        error.retry_after_s = _retry_after_s(_detail(details, RetryInfo))
    wrong = _detail(details, BadRequest)
    error.field = wrong.field_violations[0].field if wrong and wrong.field_violations else ""
    error.metadata = dict(info.metadata) if info else {}
    return error


def _pushback_s(trailers: Iterable[Any]) -> float | None:
    """What the server asks for; below 0 where it, or garbage in its place, forbids another attempt."""
    for key, value in trailers:
        if key == PUSHBACK_KEY:
            return int(value) / 1000 if _PUSHBACK.fullmatch(value) else -1.0
    return None


def _details_in(trailers: Iterable[Any] | None) -> dict[str, bytes]:
    """The details' bytes by message name; none where a proxy garbled them: the code says what happened."""
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return _by_name(Status.FromString(value))
            except DecodeError:
                return {}
    return {}


def _by_name(status: Status) -> dict[str, bytes]:
    return {detail.TypeName(): detail.value for detail in status.details}


def _detail(details: Mapping[str, bytes], kind: type[_Detail]) -> _Detail | None:
    raw = details.get(kind.DESCRIPTOR.full_name)
    try:
        return None if raw is None else kind.FromString(raw)
    except DecodeError:
        return None


def _retry_after_s(retry: RetryInfo | None) -> float | None:
    return None if retry is None else retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


def _is_size_limit(code: grpc.StatusCode, info: ErrorInfo | None, text: str) -> bool:
    """gRPC itself refuses a message above a size limit with the code of overload."""
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED and info is None and "message larger than max" in text
