"""How many predictions a worker takes at once: as many as end well within the time that each of them has."""

from __future__ import annotations

_FIRST_SIZE = 8
_SLOW_RATIO, _QUICK_RATIO = 0.5, 0.25


class Pace:
    """The size of the next mini-batch, 1 to `most`.

    It starts small and doubles while mini-batches take less than a quarter of `timeout_s`; one that takes
    more than half of it halves the next. So a slow model's predictions don't run out of time behind one
    another.
    """

    def __init__(self, most: int, timeout_s: float) -> None:
        self.size = min(_FIRST_SIZE, most)
        self._most = most
        self._timeout_s = timeout_s

    def took(self, count: int, seconds: float) -> None:
        """Take note of how long a mini-batch of `count` took."""
        if seconds > _SLOW_RATIO * self._timeout_s:
            self.size = max(1, self.size // 2)
        elif count >= self.size and seconds < _QUICK_RATIO * self._timeout_s:
            self.size = min(self._most, 2 * self.size)
