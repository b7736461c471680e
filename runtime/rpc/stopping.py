"""The beginning of a server's end, as its layers and streams see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopping:
    """Whether a server takes nothing new any more, and whom to tell when that begins."""

    __slots__ = ("_listeners", "begun")

    def __init__(self) -> None:
        self.begun = False
        self._listeners: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Tell every stream to end."""
        self.begun = True
        for listener in tuple(self._listeners):
            listener()

    @contextmanager
    def telling(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` when stopping begins within the block; at once where it has begun."""
        self._listeners.add(listener)
        try:
            if self.begun:
                listener()
            yield
        finally:
            self._listeners.discard(listener)
