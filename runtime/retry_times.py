"""When those who are refused should come back: not all at once, and at one of few times, so that what tells
them is made once. Pure."""

from __future__ import annotations

from bisect import bisect_left

_GOLDEN = 0.618_033_988_75
_LADDER_MS: tuple[int, ...] = tuple(sorted({round(2.0 ** (step / 3.0)) for step in range(3 * 16)}))
_LADDER_S = tuple(milliseconds / 1000.0 for milliseconds in _LADDER_MS)


class RetryTimes:
    """Spreads the times at which callers come back over one to two times what is expected.

    The times are of a ladder of whole milliseconds, 1 ms to 52 s, each about a quarter above the one before.
    The spread is the golden ratio's sequence: any few in a row are far apart, and it is the same each run.
    """

    __slots__ = ("_place",)

    def __init__(self) -> None:
        self._place = 0.0

    def after(self, expected_s: float) -> float:
        """Return when to come back, in seconds, where a place is expected to be free in `expected_s`."""
        self._place = (self._place + _GOLDEN) % 1.0
        step = bisect_left(_LADDER_S, expected_s * (1.0 + self._place))
        return _LADDER_S[min(step, len(_LADDER_S) - 1)]
