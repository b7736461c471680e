"""What parts of a program take, each without the parts inside it."""

from __future__ import annotations

import functools
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Adds up the seconds of named parts. While a part within another runs, the outer one stands still.

    Only one thing at a time may be under way in the thread: a part that awaits counts what runs meanwhile.
    Units: seconds of `clock`, which is read twice per part.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock = clock
        self._open: list[str] = []
        self._since_s = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as `name`."""
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count a function or method, which `owner` has under `name`, as `part` from now on.

        Raises: AttributeError where there is none.
        """
        wrapped = getattr(owner, name)
        if inspect.iscoroutinefunction(wrapped):

            @functools.wraps(wrapped)
            async def timed_coroutine(*arguments: Any, **options: Any) -> Any:
                self._enter(part)
                try:
                    return await wrapped(*arguments, **options)
                finally:
                    self._leave()

            setattr(owner, name, timed_coroutine)
            return

        @functools.wraps(wrapped)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._enter(part)
            try:
                return wrapped(*arguments, **options)
            finally:
                self._leave()

        setattr(owner, name, timed)

    def clear(self) -> None:
        """Forget what was counted."""
        self.seconds.clear()

    def _enter(self, name: str) -> None:
        now_s = self._clock()
        if self._open:
            self.seconds[self._open[-1]] += now_s - self._since_s
        self._open.append(name)
        self._since_s = now_s

    def _leave(self) -> None:
        now_s = self._clock()
        self.seconds[self._open.pop()] += now_s - self._since_s
        self._since_s = now_s
