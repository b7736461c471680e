"""What is made of an overload once it has been measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.admin import Ended
from benchmarks.bench import MeasurementFailed
from benchmarks.overload import Overloaded


def window(offered: int, sent: int, critical: int) -> dict[str, Any]:
    return {
        "offered": offered,
        "sent": sent,
        "goodput_per_s": 90.0,
        "lanes": {"critical": {"offered": offered // 10, "good": critical}},
    }


def overloaded(*windows: dict[str, Any]) -> Overloaded:
    return Overloaded(2.0, windows, (90.0, 110.0), 0.1, Ended({"OK": 10}, 0), {})


def test_the_peak_is_the_mean_of_before_and_after_when_both_were_measured() -> None:
    assert overloaded(window(100, 100, 10)).peak_per_s == 100.0


def test_a_lane_is_served_by_all_windows_together_when_there_are_several() -> None:
    assert overloaded(window(100, 100, 10), window(300, 300, 20)).served("critical") == 0.75


def test_a_load_fails_when_too_little_of_it_was_sent() -> None:
    overloaded(window(100, 95, 0)).check_sent()
    with pytest.raises(MeasurementFailed, match="94 of 100"):
        overloaded(window(100, 94, 0)).check_sent()


def test_the_servers_account_is_what_came_on_top_when_it_is_asked_twice() -> None:
    before = Ended({"OK": 10, "CANCELLED": 1}, 2)
    after = Ended({"OK": 15, "CANCELLED": 1, "RESOURCE_EXHAUSTED": 7}, 3)
    since = after.since(before)
    assert since.by_status == {"OK": 5, "CANCELLED": 0, "RESOURCE_EXHAUSTED": 7}
    assert (since.answered, since.late) == (5, 1)
