"""What a call says besides its request: its deadline, its caller, how much it matters, its trace."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final, Literal, get_args

from forebay._trace import TRACEPARENT, traceparent
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, InvalidRequest

Criticality = Literal["critical", "default", "sheddable"]
Metadata = tuple[tuple[str, str], ...]

DEFAULT_TIMEOUT_S: Final = 1.0
LONGEST_TIMEOUT_S: Final = 86_400.0
LONGEST_CALLER: Final = 128

_CRITICALITIES: Final = get_args(Criticality)


@dataclass(frozen=True, slots=True)
class Terms:
    """One call's deadline and metadata, the same for each of its attempts."""

    deadline: Deadline
    metadata: Metadata

    def left_s(self, now_s: float) -> float:
        """Return the time that an attempt has.

        Raises: DeadlineExceeded where none is left; gRPC itself would make the call.
        """
        left_s = self.deadline.remaining_s(now_s)
        if left_s <= 0:
            raise DeadlineExceeded("no time was left when the call was made")
        return left_s


class Defaults:
    """What a client says in every call, unless the call says otherwise.

    Raises: InvalidRequest naming the option.
    """

    def __init__(self, timeout_s: float, caller: str, criticality: Criticality) -> None:
        self.timeout_s = timeout(timeout_s)
        self._caller = caller
        self._criticality = criticality
        self._metadata = _metadata(caller, criticality)

    def terms(
        self,
        timeout_s: float | None = None,
        caller: str | None = None,
        criticality: Criticality | None = None,
        trace: str | None = None,
    ) -> Terms:
        """Return the terms of a call made now; None means the client's own."""
        given_s = self.timeout_s if timeout_s is None else timeout(timeout_s)
        deadline = Deadline.after(given_s, time.monotonic())
        metadata = self._metadata
        if caller is not None or criticality is not None:
            metadata = _metadata(
                self._caller if caller is None else caller,
                self._criticality if criticality is None else criticality,
            )
        parent = traceparent(trace)
        return Terms(deadline, (*metadata, (TRACEPARENT, parent)) if parent else metadata)


def timeout(timeout_s: float) -> float:
    """Return the timeout, no longer than gRPC can take. Raises: InvalidRequest."""
    if math.isnan(timeout_s):
        raise InvalidRequest("timeout_s: is not a number", field="timeout_s")
    return min(timeout_s, LONGEST_TIMEOUT_S)


def _metadata(caller: str, criticality: Criticality) -> Metadata:
    if criticality not in _CRITICALITIES:
        raise InvalidRequest(f"criticality: is one of {', '.join(_CRITICALITIES)}", field="criticality")
    if len(caller) > LONGEST_CALLER or not (caller.isascii() and caller.isprintable()):
        message = f"caller: at most {LONGEST_CALLER} printable ASCII characters"
        raise InvalidRequest(message, field="caller")
    said: list[tuple[str, str]] = []
    if criticality != "default":
        said.append(("forebay-criticality", criticality))
    if caller:
        said.append(("forebay-caller", caller))
    return tuple(said)
