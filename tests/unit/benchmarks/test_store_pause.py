"""What is told of a paused store."""

from __future__ import annotations

from typing import Any

from benchmarks.store_pause import Paused, transcript


def step(start_s: float, good: int, degraded: int) -> dict[str, Any]:
    counts = {"good": good, "degraded": degraded, "refused": 0, "late": 0, "expired": 0, "unsent": 0}
    return {"start_s": start_s, "offered": good + degraded, **counts}


def test_half_a_second_is_a_line_when_the_pause_is_told() -> None:
    timeline = [step(round(number * 0.1, 1), 10, 0) for number in range(5)]
    timeline += [step(round(0.5 + number * 0.1, 1), 0, 10) for number in range(5)]
    told = transcript(Paused(0.52, 9.0, {"timeline": timeline, "phases": []})).splitlines()
    assert told[0].split() == [
        "second", "offered", "good", "degraded", "refused", "late", "expired", "unsent",
    ]  # fmt: skip
    assert told[1].split() == ["0.0", "50", "50", "0", "0", "0", "0", "0"]
    assert told[2].split()[:4] == ["0.5", "50", "0", "50"]
    assert told[2].endswith("<- the store stops at 0.52 s")
