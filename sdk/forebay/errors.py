"""The kinds of failure, shared by the servers and the client; the table that maps them to gRPC status codes
is in `forebay/_status.py`.

Error
├── InvalidRequest      the call is wrong: fix it
├── NotFound            no such pipeline, view, index, prediction: fix the name
├── Conflict            somebody else changed it first: read again, redo
├── NotUsable           it exists but can't be used as it is: an operator must act
├── Overloaded          too much at once: back off for `retry_after_s`
├── Unavailable         a dependency is gone or starting: retry the same call
├── DeadlineExceeded    no answer in time
├── Unauthenticated     no valid credentials
├── Denied              no right to do this
├── Corrupt             stored bytes fail their check: page somebody
├── Unimplemented       this server doesn't do that
├── Internal            a bug; the message carries only an opaque id
└── Pending             the client's own: a submitted prediction hasn't ended yet
"""

from __future__ import annotations

import re


class Error(Exception):
    """A failure that a caller can act on.

    `message` names the thing and the limit, never a value of the caller's. `field` is the path of the wrong
    field, where one is wrong. `metadata` are machine-readable facts, as in google.rpc.ErrorInfo.
    """

    def __init__(self, message: str, *, field: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = metadata

    @property
    def reason(self) -> str:
        """The error's class in UPPER_SNAKE, as ErrorInfo.reason carries it."""
        return reason_of(type(self))


class InvalidRequest(Error):
    """The request is wrong whatever the state of the system."""


class NotFound(Error):
    """The named thing doesn't exist."""


class Conflict(Error):
    """The state changed since it was read."""


class NotUsable(Error):
    """The system is not in a state in which this can be done; retrying won't help."""


class Overloaded(Error):
    """The request was refused because of too many others."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, field: str = "", **metadata: str
    ) -> None:
        super().__init__(message, field=field, **metadata)
        self.retry_after_s = retry_after_s


class Unavailable(Error):
    """A dependency is gone, or the server is starting or draining."""


class DeadlineExceeded(Error):
    """The deadline passed before the answer."""


class Unauthenticated(Error):
    """The caller didn't say who it is, or not credibly."""


class Denied(Error):
    """The caller may not do this."""


class Corrupt(Error):
    """Stored bytes fail their check."""


class Unimplemented(Error):
    """The server doesn't implement the method."""


class Internal(Error):
    """A bug; `message` carries an opaque id that the server's log repeats."""


class Pending(Error):
    """A submitted prediction hasn't ended: ask again. The client says so; it is no failure of a call."""


KINDS: tuple[type[Error], ...] = (
    InvalidRequest,
    NotFound,
    Conflict,
    NotUsable,
    Overloaded,
    Unavailable,
    DeadlineExceeded,
    Unauthenticated,
    Denied,
    Corrupt,
    Unimplemented,
    Internal,
)


def reason_of(kind: type[Error]) -> str:
    """Return a kind's class name in UPPER_SNAKE."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()
