"""How far streams have come, as readers of windows know it: one map that is replaced whole."""

from __future__ import annotations

from collections.abc import Mapping

from registry.watermarks import ViewGeneration


class StreamFreshness:
    """The lowest watermark of each view's rows, us, as of the last look at the registry. Without a look for
    long they age, as they should: nobody knows of anything newer.
    """

    __slots__ = ("lowest_us",)

    def __init__(self, lowest_us: Mapping[ViewGeneration, int] | None = None) -> None:
        self.lowest_us = {} if lowest_us is None else lowest_us
