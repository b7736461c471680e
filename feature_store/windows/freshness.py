"""How far streams have come, as readers of windows know it: one map that is replaced whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from registry.watermarks import ViewGeneration

_SPACING = 1 / 64
"""Of the longest time for which rows are kept: looks at the watermarks that are closer aren't remembered."""


class StreamFreshness:
    """The lowest watermark of each view's rows, us, as of the last look at the registry. Without a look for
    long they age, as they should: nobody knows of anything newer.

    Rows that may be kept at hand (`near_cache`) hold what was applied when they were read, and no later
    watermark is about them: theirs is that of the last look which is as old as a kept row may be. Until there
    is one, it is that of the first look: this process read no rows before it.
    """

    __slots__ = ("_kept_s", "_looks", "lowest_us")

    def __init__(self, lowest_us: Mapping[ViewGeneration, int] | None = None) -> None:
        self.lowest_us = {} if lowest_us is None else lowest_us
        self._kept_s: dict[ViewGeneration, float] = {}
        self._looks: deque[tuple[float, Mapping[ViewGeneration, int]]] = deque()

    def keep(self, rows: ViewGeneration, kept_s: float) -> None:
        """Take note that rows of a view may be kept for `kept_s`; for what is told from now on."""
        self._kept_s[rows] = kept_s

    def tell(self, lowest_us: Mapping[ViewGeneration, int], now_s: float) -> None:
        """Take the watermarks of a look that has ended; `now_s` of a clock that never goes back."""
        longest_s = max(self._kept_s.values(), default=0.0)
        if not self._looks or now_s - self._looks[-1][0] > longest_s * _SPACING:
            self._looks.append((now_s, lowest_us))
        while len(self._looks) > 1 and self._looks[1][0] <= now_s - longest_s:
            self._looks.popleft()
        told = dict(lowest_us)
        for rows, kept_s in self._kept_s.items():
            earlier_us = self._at(now_s - kept_s).get(rows)
            if earlier_us is None:
                told.pop(rows, None)
            else:
                told[rows] = earlier_us
        self.lowest_us = told

    def is_told(self) -> bool:
        """Return whether there was a look."""
        return bool(self._looks)

    def _at(self, at_s: float) -> Mapping[ViewGeneration, int]:
        """Return what the last look up to `at_s` told, or the first that is remembered."""
        found = self._looks[0][1]
        for look_s, lowest_us in self._looks:
            if look_s > at_s:
                break
            found = lowest_us
        return found
