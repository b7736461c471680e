"""When a failed call is made again, and a slow one a second time. Decided here without clock, socket or
thread; `_calls.py` and `_aio_calls.py` act on it. Which failures allow it is read in `_status.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from threading import Lock

from forebay._addresses import Rotation
from forebay._channel import Repeats
from forebay._status import Failure
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, InvalidRequest, Overloaded, Unavailable

RETRY_SAVINGS = 100.0
"""Extra attempts that a client may have earned and not used."""
FIRST_RETRIES = 10.0
"""Extra attempts that a client has to begin with, before it has earned any."""
HEDGE_SAVINGS = 10.0
FIRST_HEDGES = 1.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and when, a call that may be repeated is made again after a failure.

    `attempts` bounds one call's attempts, the first included; a hedge isn't counted. The delay before another
    attempt at the same address is `first_delay_s`, doubled each time up to `max_delay_s`, half of it random,
    after what the server asks for. `budget` bounds what all calls of a client add to the load: on
    average so many extra attempts per call. Nothing is begun with less than `floor_s` left of the deadline.

    Raises: InvalidRequest naming the field.
    """

    attempts: int = 3
    first_delay_s: float = 0.02
    max_delay_s: float = 1.0
    budget: float = 0.1
    floor_s: float = 0.002

    def __post_init__(self) -> None:
        for each in fields(self):
            least = 1 if each.name == "attempts" else 0
            if not getattr(self, each.name) >= least:
                raise InvalidRequest(
                    f"retry.{each.name}: must be at least {least}", field=f"retry.{each.name}"
                )


DEFAULT_RETRY = Retry()
NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a client has done so far: calls, attempts after a failure, second attempts at a slow call."""

    calls: int
    retries: int
    hedges: int


class Budget:
    """Extra attempts as a share of calls: each call earns `share`, each extra attempt costs 1.

    Holds at most `savings`, so that a quiet hour can't pay for a storm. Many threads may use it.
    """

    def __init__(self, share: float, first: float, savings: float) -> None:
        self._share = share
        self._savings = savings
        self._left = first if share else 0.0
        self._lock = Lock()
        self.earned_count = 0
        self.spent_count = 0

    def earn(self) -> None:
        """Count a call."""
        with self._lock:
            self.earned_count += 1
            self._left = min(self._left + self._share, self._savings)

    def spend(self) -> bool:
        """Take one extra attempt; False where none is left."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            self.spent_count += 1
            return True

    def forfeit(self) -> None:
        """Lose what was saved."""
        with self._lock:
            self._left = 0.0


class Policy:
    """What all calls of a client share: its settings, its budgets, its addresses."""

    def __init__(
        self,
        retry: Retry,
        rotation: Rotation,
        hedge_after_s: float | None = None,
        hedge_share: float = 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if hedge_after_s is not None and not hedge_after_s >= 0:
            raise InvalidRequest("hedge_after_s: must be at least 0", field="hedge_after_s")
        if not 0 <= hedge_share <= 1:
            raise InvalidRequest("hedge_share: must be from 0 to 1", field="hedge_share")
        self.retry = retry
        self.rotation = rotation
        self.hedge_after_s = hedge_after_s if rotation.count > 1 else None
        self.retries = Budget(retry.budget, FIRST_RETRIES, RETRY_SAVINGS)
        self.hedges = Budget(hedge_share, FIRST_HEDGES, HEDGE_SAVINGS)
        self.jitter = jitter

    def counts(self) -> Counts:
        """Return what was done so far."""
        return Counts(self.retries.earned_count, self.retries.spent_count, self.hedges.spent_count)

    def course(self, repeats: Repeats, deadline: Deadline) -> Course:
        """Return a new call's course."""
        return Course(self, repeats, deadline)


class Course:
    """One call's way through its attempts.

    `begin` gives the first attempt's address. After that, whoever makes the attempts calls `failed` for each
    that failed and `answered` for the one that didn't, and at `next_s` asks `due` for the next address.
    """

    __slots__ = (
        "_attempts_left",
        "_deadline",
        "_hedging",
        "_not_before_s",
        "_policy",
        "_repeats",
        "_running",
        "_turn",
        "next_s",
    )

    def __init__(self, policy: Policy, repeats: Repeats, deadline: Deadline) -> None:
        self._policy = policy
        self._repeats = repeats
        self._deadline = deadline
        self._attempts_left = 1 if repeats is Repeats.NEVER else policy.retry.attempts
        self._hedging = repeats is Repeats.HEDGE and policy.hedge_after_s is not None
        self._not_before_s: dict[int, float] = {}  # by address tried: when it may be asked again
        self._running = 0
        self._turn = policy.rotation.turn()
        self.next_s: float | None = None

    @property
    def hedges(self) -> bool:
        """Whether a second attempt may start while the first one runs."""
        return self._hedging

    def begin(self, now_s: float) -> int:
        """Return the address of the first attempt."""
        self._policy.retries.earn()
        if self._hedging and self._policy.hedge_after_s is not None:
            self._policy.hedges.earn()
            self.next_s = now_s + self._policy.hedge_after_s
        self._attempts_left -= 1
        return self._start(now_s)

    def due(self, now_s: float) -> int | None:
        """Return the address of the attempt that starts now; None for a hedge that can't be afforded."""
        self.next_s = None
        if self._hedging:
            self._hedging = False
            if not self._in_time(now_s) or not self._policy.hedges.spend():
                return None
        else:
            self._attempts_left -= 1
        return self._start(now_s)

    def failed(self, address: int, failure: Failure, now_s: float) -> bool:
        """Note that an attempt failed; return whether the whole call ends with its error."""
        self._running -= 1
        self._learn(address, failure.error, now_s)
        if failure.after_s is None:
            return True
        if self._running:
            return False
        self._hedging, self.next_s = False, None
        # Both, so that those who were told the same time don't come back together.
        self._not_before_s[address] = now_s + failure.after_s + self._backoff_s()
        at_s = self._next_attempt_s(now_s)
        if self._attempts_left == 0 or not self._in_time(at_s) or not self._policy.retries.spend():
            return True
        self.next_s = at_s
        return False

    def renew(self) -> None:
        """Note that an attempt got somewhere before it failed: the call has all its attempts again."""
        self._attempts_left = self._policy.retry.attempts - 1

    def answered(self, address: int) -> None:
        """Note that an attempt was answered, so that its address takes its turns again."""
        self._policy.rotation.wake(address)

    def _learn(self, address: int, error: Error, now_s: float) -> None:
        if isinstance(error, Unavailable):
            self._policy.rotation.rest(address, now_s)
        elif not isinstance(error, DeadlineExceeded):
            self._policy.rotation.wake(address)
        if isinstance(error, Overloaded):
            self._policy.hedges.forfeit()

    def _start(self, now_s: float) -> int:
        address = self._address(now_s)
        self._not_before_s[address] = now_s
        self._running += 1
        return address

    def _address(self, now_s: float) -> int:
        """One that was not tried yet, in turn; else the one that may be asked first."""
        tried = self._not_before_s
        if len(tried) < self._policy.rotation.count:
            return self._policy.rotation.pick(self._turn, tried, now_s)
        return min(tried, key=tried.__getitem__)

    def _next_attempt_s(self, now_s: float) -> float:
        """At once where another address is left; else when one of those tried may be asked again."""
        tried = self._not_before_s
        return now_s if len(tried) < self._policy.rotation.count else max(now_s, min(tried.values()))

    def _backoff_s(self) -> float:
        retry = self._policy.retry
        before = retry.attempts - self._attempts_left - 1
        delay_s = min(retry.first_delay_s * 2.0 ** min(before, 60), retry.max_delay_s)
        return delay_s * (0.5 + 0.5 * self._policy.jitter())

    def _in_time(self, at_s: float) -> bool:
        return self._deadline.remaining_s(at_s) >= self._policy.retry.floor_s
