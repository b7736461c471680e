"""How a request's time is spent: one absolute deadline, and what each stage may take of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.deadline import NEVER, Deadline

DEFAULT_TIMEOUT_S = 1.0
"""Where neither the caller nor the pipeline sets a limit."""


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
        return caller.earliest(Deadline(admitted_s + limit_s))

    def given_s(self, stage: str, deadline_s: float, now_s: float) -> float:
        """Return how long a stage that starts now may take: its cap, or what remains; never negative."""
        remaining_s = deadline_s - now_s
        cap_s = self.stages_s.get(stage)
        if cap_s is not None and cap_s < remaining_s:
            return cap_s
        return max(0.0, remaining_s)
