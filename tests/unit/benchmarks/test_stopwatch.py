"""What parts take, each without the parts inside it."""

from __future__ import annotations

import pytest

from benchmarks.cpu_parts import TIMED
from benchmarks.stopwatch import Stopwatch


class Clock:
    """A clock that is moved by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Work:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def inner(self) -> str:
        self.clock.now_s += 2
        return "inner"

    async def outer(self) -> str:
        self.clock.now_s += 1
        found = self.inner()
        self.clock.now_s += 4
        return found


async def test_a_part_stands_still_when_another_runs_inside_it() -> None:
    clock = Clock()
    watch, work = Stopwatch(clock), Work(clock)
    watch.wrap(work, "inner", "inside")
    watch.wrap(work, "outer", "outside")
    assert await work.outer() == "inner"
    clock.now_s += 8  # nobody's
    assert watch.seconds == {"outside": 5, "inside": 2}


def test_a_part_is_counted_when_it_raises() -> None:
    clock = Clock()
    watch = Stopwatch(clock)

    class Failing:
        def work(self) -> None:
            clock.now_s += 3
            raise ValueError("no")

    failing = Failing()
    watch.wrap(failing, "work", "bad")
    with pytest.raises(ValueError, match="no"):
        failing.work()
    assert watch.seconds == {"bad": 3}


@pytest.mark.parametrize(("owner", "name", "part"), TIMED, ids=lambda value: str(value)[-40:])
def test_what_is_timed_is_there_when_the_gateway_has_changed(owner: object, name: str, part: str) -> None:
    assert callable(getattr(owner, name))
    assert part
