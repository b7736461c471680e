"""How a request's time is spent: one absolute deadline, and what each stage may take of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.deadline import NEVER, Deadline

DEFAULT_TIMEOUT_S = 1.0
"""Where neither the caller nor the pipeline sets a limit."""
_LARGEST_RESERVE, _SMALLEST_RESERVE = 0.1, 0.02
"""Shares of a request's time that are kept for its reply, at most (one in a hurry is not all reserve) and at
least (one with much time can spare some of it, and is never late)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A pipeline's declared limits. Units: seconds; None or an absent stage: no limit of its own."""

    total_s: float | None
    stages_s: Mapping[str, float]

    def deadline(self, caller: Deadline, admitted_s: float) -> Deadline:
        """Return when the answer is due: the caller's deadline (NEVER for none), capped by the total."""
        limit_s = self.total_s
        if limit_s is None:
            if caller is not NEVER:
                return caller
            limit_s = DEFAULT_TIMEOUT_S
        limit_s += admitted_s
        return caller if caller.at_s <= limit_s else Deadline(limit_s)

    def ends_s(
        self, deadline: Deadline, admitted_s: float, reply_reserve_s: float, stand_in_s: float
    ) -> tuple[float, float]:
        """Return when the steps have to be done, and when their answer is given up, for the reply to be sent
        by `deadline`. Half of its reserve lies between the two; `stand_in_s` is kept for what is then done.
        """
        given_s = deadline.at_s - admitted_s
        longest_s = given_s * _LARGEST_RESERVE
        reserve_s = min(max(reply_reserve_s, given_s * _SMALLEST_RESERVE), longest_s)
        give_up_s = deadline.at_s - reserve_s / 2 - min(stand_in_s, longest_s)
        return give_up_s - reserve_s / 2, give_up_s

    def limit_s(self, stage: str, due_s: float, now_s: float) -> float:
        """Return by when a stage that starts now has to be done: at `due_s`, or when its cap is spent."""
        cap_s = self.stages_s.get(stage)
        return due_s if cap_s is None else min(due_s, now_s + cap_s)

    def limits_s(self, stage: str, due_s: list[float], now_s: float) -> list[float]:
        """Return what `limit_s` does, for each `due_s`."""
        cap_s = self.stages_s.get(stage)
        return due_s if cap_s is None else [min(each_s, now_s + cap_s) for each_s in due_s]
