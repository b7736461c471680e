"""Errors onto the wire: status code, message, google.rpc details and trailers. The table of kinds and codes
is `forebay/_status.py`, where the client reads back what is written here."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, inf

from forebay._rpc import error_details_pb2, status_pb2
from forebay._status import CODE_OF, DETAILS_KEY, DOMAIN, PUSHBACK_KEY
from forebay.errors import DeadlineExceeded, Error, Overloaded, reason_of
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from grpc import StatusCode

_DESCRIPTIONS = 1024
"""Refusals that are kept as bytes: a few hundred bytes each."""

MAX_MESSAGE_BYTES = 1024
"""Messages are cut here: gRPC clients refuse headers above 8 KiB, and each byte may take three there."""

Trailers = tuple[tuple[str, str | bytes], ...]


def code_of(error: Error) -> StatusCode:
    """Return the status code of an error's kind; a subclass has its nearest kind's."""
    return CODE_OF[_kind_of(error)]


def message_of(error: Error) -> str:
    """Return the error's message, no longer than the wire takes."""
    raw = error.message.encode()
    return error.message if len(raw) <= MAX_MESSAGE_BYTES else _cut(raw)


def status_of(error: Error) -> status_pb2.Status:
    """Return the error as google.rpc.Status: always with ErrorInfo, with BadRequest where a field is wrong,
    with RetryInfo where the caller was told when to come back."""
    return status_pb2.Status(
        code=code_of(error).value[0],
        message=message_of(error),
        details=[_packed(detail) for detail in _details_of(error)],
    )


def trailers_of(error: Error, remaining_s: float = inf) -> Trailers:
    """Return the trailing metadata that goes with an error; `remaining_s`: until the caller's deadline.

    Overload tells gRPC's own retries when to come back; and not to (a negative pushback), where nobody knows,
    or that would be after the deadline.

    Cost: 25 us; under a microsecond for overload and missed deadlines that were described before.
    """
    if isinstance(error, DeadlineExceeded) and not error.field:
        return (_deadline_exceeded(error.message, tuple(error.metadata.items())),)
    if not isinstance(error, Overloaded):
        return ((DETAILS_KEY, status_of(error).SerializeToString()),)
    after_s = error.retry_after_s
    details = _overloaded(error.message, after_s, error.field, tuple(error.metadata.items()))
    pushback_ms = -1 if after_s is None or after_s >= remaining_s else ceil(after_s * 1000)
    return details, (PUSHBACK_KEY, str(pushback_ms))


@lru_cache(maxsize=_DESCRIPTIONS)
def _overloaded(
    message: str, retry_after_s: float | None, field: str, metadata: tuple[tuple[str, str], ...]
) -> tuple[str, bytes]:
    """Return the details of a refusal, made once for many: in overload refusing must not be what takes the
    time."""
    error = Overloaded(message, retry_after_s=retry_after_s, field=field, **dict(metadata))
    return DETAILS_KEY, status_of(error).SerializeToString()


@lru_cache(maxsize=_DESCRIPTIONS)
def _deadline_exceeded(message: str, metadata: tuple[tuple[str, str], ...]) -> tuple[str, bytes]:
    """The same of a missed deadline."""
    return DETAILS_KEY, status_of(DeadlineExceeded(message, **dict(metadata))).SerializeToString()


def _kind_of(error: Error) -> type[Error]:
    return next(kind for kind in type(error).__mro__ if kind in CODE_OF)


def _details_of(error: Error) -> list[Message]:
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            domain=DOMAIN,
            reason=reason_of(_kind_of(error)),
            metadata={k: str(v) for k, v in error.metadata.items()},
        )
    ]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=message_of(error)
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Overloaded) and error.retry_after_s is not None:
        delay = Duration()
        delay.FromMicroseconds(round(error.retry_after_s * 1_000_000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed


def _cut(raw: bytes) -> str:
    return raw[: MAX_MESSAGE_BYTES - 3].decode(errors="ignore") + "..."
