"""One gate per dependency: whether a stage is worth starting, by how long such stages took lately and by
whether the dependency answers at all. Pure: time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

from runtime.duration_model import DurationModel

_USUAL_FROM, _USUAL_TO = 0.7, 1.4
"""Of what was expected: what takes as long is no news."""
_QUIET_S = 0.02


class Verdict(Enum):
    """What a gate says; true when the stage may start. The others are named as reasons of a `Degradation`."""

    ADMITTED = "ADMITTED"
    NO_TIME = "NO_TIME"
    UNAVAILABLE = "UNAVAILABLE"

    def __bool__(self) -> bool:
        return self is Verdict.ADMITTED


@dataclass(slots=True)
class GateStats:
    """What a gate has decided so far; `probes` are among the `admitted`."""

    admitted: int = 0
    probes: int = 0
    no_time: int = 0
    unavailable: int = 0
    closings: int = 0


class Gate:
    """Lets a stage start unless it would be in vain. Also the circuit breaker of its dependency.

    Two states. `closed` counts whole failures, the estimate is asked per stage:

        open    -> closed   after `closes_after` failures with no success between them
        closed  -> open     at the first success, whichever call it comes from

        open:    NO_TIME where expected(size) > remaining        else ADMITTED
        closed:  UNAVAILABLE

    with expected(size) from `DurationModel`: a line through recent durations by size that ignores a single
    outlier, and says no more of sizes that weren't seen than what they take at the least. Whatever the gate
    would refuse, one stage per `probe_s` is let through all the same, the first one `probe_s` after the first
    refusal (or the closing). So nothing latches: a dependency that is back is noticed within `probe_s`, and
    an estimate from a slow spell is corrected by probes, and halves every second where not even those come.
    A probe that is never reported (its task was cancelled) blocks nothing.

    A stage that got no answer in the time it was given is a failure only if it was given as long as it was
    expected to take: callers in a hurry don't close the gate for the others. It is none where the dependency
    `is_local`, in this process: that is slow when the machine is busy, and closing the gate would end the
    service just then; the estimate alone says who has the time. Nor does a refused stage with
    no time at all left use up a probe.

    A success that took about as long as expected is not learnt from where another was within `_QUIET_S`: it
    would change nothing, and learning costs more than all decisions of a request together. What took much
    longer or shorter always is, whatever its size.

    Cost: about a microsecond per decision, no tasks, no timers.
    """

    __slots__ = (
        "_closes_after",
        "_failures",
        "_is_local",
        "_model",
        "_probe_at_s",
        "_probe_s",
        "_quiet_until_s",
        "stats",
    )

    def __init__(self, *, closes_after: int = 5, probe_s: float = 0.1, is_local: bool = False) -> None:
        self.stats = GateStats()
        self._is_local = is_local
        self._closes_after = closes_after
        self._probe_s = probe_s
        self._model = DurationModel()
        self._failures = 0
        self._probe_at_s = inf
        self._quiet_until_s = -inf

    @property
    def closed(self) -> bool:
        """Whether the dependency counts as gone."""
        return self._failures >= self._closes_after

    def expected_s(self, now_s: float, size: int) -> float:
        """Return how long a stage of `size` rows takes, at the least; 0 while nothing is known."""
        return self._model.least_s_at(now_s, size)

    def admit(self, now_s: float, remaining_s: float, size: int = 1) -> Verdict:
        """Return whether a stage of `size` >= 1 rows may start that has `remaining_s` to be done in.

        Every admitted stage should be reported by `succeeded`, `failed` or `timed_out`.
        """
        if remaining_s <= 0.0:
            return self._refuse(Verdict.NO_TIME)
        if self._failures >= self._closes_after:
            verdict = Verdict.UNAVAILABLE
        elif self.expected_s(now_s, size) > remaining_s:
            verdict = Verdict.NO_TIME
        else:
            self.stats.admitted += 1
            return Verdict.ADMITTED
        if self._probe_is_due(now_s):
            self.stats.admitted += 1
            self.stats.probes += 1
            return Verdict.ADMITTED
        return self._refuse(verdict)

    def succeeded(self, now_s: float, duration_s: float, size: int = 1) -> None:
        """Take note of a stage that ended at `now_s` as it should: the gate is open."""
        self._failures = 0
        if now_s < self._quiet_until_s:
            cost = self._model.cost
            expected_s = cost.fixed_s + cost.row_s * size
            if _USUAL_FROM * expected_s < duration_s < _USUAL_TO * expected_s:
                return
        self._quiet_until_s = now_s + _QUIET_S
        self._model.observe(size, duration_s, now_s)

    def failed(self, now_s: float) -> None:
        """Take note of a stage that the dependency failed: it refused, broke off, or answered nonsense."""
        self._failures += 1
        if self._failures == self._closes_after:
            self.stats.closings += 1
            self._probe_at_s = now_s + self._probe_s

    def timed_out(self, now_s: float, given_s: float, size: int = 1) -> None:
        """Take note of a stage without an answer in `given_s`: it takes at least that long."""
        if given_s < self._model.least_s_at(now_s, size):
            return
        self._model.observe(size, given_s, now_s)
        if not self._is_local:
            self.failed(now_s)

    def _probe_is_due(self, now_s: float) -> bool:
        """Return whether what is refused may start all the same; it counts as started."""
        if now_s >= self._probe_at_s:
            self._probe_at_s = now_s + self._probe_s
            return True
        self._probe_at_s = min(self._probe_at_s, now_s + self._probe_s)
        return False

    def _refuse(self, verdict: Verdict) -> Verdict:
        if verdict is Verdict.NO_TIME:
            self.stats.no_time += 1
        else:
            self.stats.unavailable += 1
        return verdict
