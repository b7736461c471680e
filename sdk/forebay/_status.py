"""The one table that maps error kinds to gRPC status codes, used by servers and clients alike, and the way
back from a failed call to a kind. Servers write what is read here in `runtime/rpc/status.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def error_of(code: grpc.StatusCode, message: str | None, trailers: Iterable[Any] | None) -> Error:
    """Return the error that a call's status and trailers stand for. Class names on the wire are not read."""
    details = _details_in(trailers)
    info = _detail(details, ErrorInfo)
    text = message or code.name
    if _is_size_limit(code, info, text):
        return InvalidRequest(text)
    error = KIND_OF[code](text)
    if isinstance(error, Overloaded):
        error.retry_after_s = _retry_after_s(_detail(details, RetryInfo))
    wrong = _detail(details, BadRequest)
    error.field = wrong.field_violations[0].field if wrong and wrong.field_violations else ""
    error.metadata = dict(info.metadata) if info else {}
    return error


def _details_in(trailers: Iterable[Any] | None) -> dict[str, bytes]:
    """The details' bytes by message name; none where a proxy garbled them: the code says what happened."""
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return {detail.TypeName(): detail.value for detail in Status.FromString(value).details}
            except DecodeError:
                return {}
    return {}


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
