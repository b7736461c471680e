"""What batches are expected to take, and when that has to be doubted. Pure."""

from __future__ import annotations

from math import inf

from runtime.duration_model import Cost, DurationModel


class Expectation:
    """A `DurationModel` that can't lock itself in.

    While all batches have had one size, what a larger one takes is a guess; if the guess is too high, nobody
    would ever run a larger one and show it. So where a guess has held somebody back (refused, given up, or
    left for the next batch), once every `probe_s` a batch is formed as if size didn't matter. And where by
    the estimate nobody could be in time, so that nothing has run for `probe_s`, the next batch runs all the
    same (`may_try`).
    """

    __slots__ = ("_began_s", "_explored_s", "_held_back", "_model", "_probe_s")

    def __init__(self, probe_s: float) -> None:
        self._model = DurationModel()
        self._probe_s = probe_s
        self._held_back = False
        self._explored_s = -inf
        self._began_s = -inf

    def cost(self, now_s: float) -> Cost:
        """Return what to expect at `now_s`."""
        if self._held_back and self._explores(now_s):
            return self._model.flat_cost_at(now_s)
        return self._model.cost_at(now_s)

    @property
    def longest(self) -> Cost:
        """What to expect at the most, at whatever instant, of anything that was seen."""
        return self._model.cost

    def hold_back(self) -> None:
        """Take note that somebody was held back by what is expected."""
        self._held_back = True

    def may_try(self, now_s: float) -> bool:
        """Return whether nothing has run for so long that somebody should, whatever is expected."""
        return now_s - self._began_s >= self._probe_s

    def begin(self, rows: int, now_s: float) -> float:
        """Take note that a batch begins; return how long it is expected to take."""
        if self._held_back and self._explores(now_s):
            self._held_back, self._explored_s = False, now_s
        self._began_s = now_s
        return self._model.cost.fixed_s + self._model.cost.row_s * rows

    def end(self, rows: int, seconds: float, now_s: float) -> None:
        """Learn from a batch that has run."""
        self._model.observe(rows, seconds, now_s)

    def _explores(self, now_s: float) -> bool:
        return now_s - self._explored_s >= self._probe_s and not self._model.knows_slope
