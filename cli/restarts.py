"""When a process that ended by itself is started again: at growing intervals, and not for ever."""

from __future__ import annotations

from collections import deque
from typing import Final

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0


class Restarts:
    """Decides about one place in a group of processes. Pure; the caller keeps the time.

    The wait doubles with every end in the last `within_s`; more than `most` of them are too many: what keeps
    dying has a cause that a restart doesn't mend. Units: seconds.
    """

    def __init__(self, most: int = 5, within_s: float = 120.0) -> None:
        self.most = most
        self.within_s = within_s
        self._ends_s: deque[float] = deque()

    def wait_s(self, now_s: float) -> float | None:
        """Take note of an end; return how long to wait before the next start, None to give up."""
        while self._ends_s and self._ends_s[0] <= now_s - self.within_s:
            self._ends_s.popleft()
        self._ends_s.append(now_s)
        if len(self._ends_s) > self.most:
            return None
        wait_s: float = _FIRST_WAIT_S * 2.0 ** (len(self._ends_s) - 1)
        return min(wait_s, _LONGEST_WAIT_S)
