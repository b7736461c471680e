"""How an answer on its way ended, and for whom it will do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from forebay.errors import DeadlineExceeded, Error, Overloaded, Unavailable

from gateway.batch import Answer, Degradation, Member, Recalled
from gateway.kept_answer import CacheOutcome, KeptAnswer

_FOR_LACK_OF_TIME = frozenset({"TIMEOUT", "NO_TIME", "OVERLOADED", "UNAVAILABLE"})
_SHORT = (DeadlineExceeded, Overloaded, Unavailable)


class Worth(Enum):
    """For how long an answer may be given to others."""

    WHOLE = 1
    FACTS = 2
    """It lacks rows that the store doesn't have: true of the data, and over as soon as they are written."""
    NONE = 3
    """It had to do without something that it should have had."""


def worth_of(answer: Answer) -> Worth:
    """Return what an answer's degradations make it worth."""
    reasons = {degradation.reason for degradation in answer.member.degradations}
    if not reasons:
        return Worth.WHOLE
    return Worth.FACTS if reasons == {"NOT_FOUND"} else Worth.NONE


@dataclass(frozen=True, slots=True)
class Landing:
    """What came of a flight: `error`, or `kept` with `degradations` beside those in its body.

    `outcome` and `age_us` are set where the answer came out of another drawer and wasn't made. `fell_short`
    says that more time, or less load, would have made a better one; `took_s` is how long it took. The answer
    is older than the write at the place `outdated_from`, where there was one.
    """

    took_s: float
    kept: KeptAnswer | None = None
    degradations: Sequence[Degradation] = ()
    outcome: CacheOutcome | None = None
    age_us: int = 0
    error: Error | None = None
    fell_short: bool = False
    outdated_from: int | None = None

    def serves(self, heard: int, remaining_s: float) -> bool:
        """Return whether one who joined after hearing of so many writes, and has so much time, may take it.

        One who has less time than this took could not do better, and takes what there is.
        """
        if self.outdated_from is not None and heard > self.outdated_from:
            return False
        return not (self.fell_short and remaining_s >= self.took_s)


def failed(error: Error, took_s: float) -> Landing:
    """Return the landing of a flight without an answer."""
    return Landing(took_s, error=error, fell_short=isinstance(error, _SHORT))


def drawn(recalled: Recalled, took_s: float) -> Landing:
    """Return the landing of a flight that found an answer made before."""
    return Landing(
        took_s,
        kept=recalled.kept,
        degradations=recalled.member.degradations,
        outcome=recalled.outcome,
        age_us=recalled.age_us,
        fell_short=_lacked_time(recalled.member),
    )


def made(member: Member, kept: KeptAnswer, took_s: float, outdated_from: int | None) -> Landing:
    """Return the landing of a flight that made an answer."""
    return Landing(took_s, kept=kept, fell_short=_lacked_time(member), outdated_from=outdated_from)


def _lacked_time(member: Member) -> bool:
    return any(degradation.reason in _FOR_LACK_OF_TIME for degradation in member.degradations)
