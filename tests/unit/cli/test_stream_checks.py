"""What `forebay doctor` says of a stream: the worst first."""

from __future__ import annotations

from typing import Any

import pytest

from cli.stream_checks import stream_check
from jobs.stream.status import PartitionStatus, StreamStatus, ViewStatus


def partition(**changed: Any) -> PartitionStatus:
    facts: dict[str, Any] = {
        "partition": 0,
        "held_events": 10,
        "lag_events": 0,
        "behind_s": 0.0,
        "complete_until_us": 1,
        "dead_letters": 0,
        "worker": "one",
        "noted_at_us": 1,
        "counts": {},
        "problem": "",
    }
    return PartitionStatus(**{**facts, **changed})


@pytest.mark.parametrize(
    ("changed", "history", "state", "says"),
    [
        ({}, "done", "ok", "0 events behind"),
        ({"lag_events": 7}, "", "ok", "7 events behind"),
        ({"lag_events": 7, "worker": ""}, "", "warn", "nobody reads it"),
        ({"dead_letters": 2}, "", "warn", "2 events were refused"),
        ({"dead_letters": 2}, "waiting", "warn", "history of trend isn't in"),
        ({"counts": {"lost": 3}, "dead_letters": 2}, "waiting", "warn", "3 events were dropped"),
        ({"counts": {"lost": 3}, "problem": "full"}, "", "fail", "full"),
    ],
)
def test_worst_is_told_when_several_things_are_wrong(
    changed: dict[str, Any], history: str, state: str, says: str
) -> None:
    view = ViewStatus("trend", None, None, history, 0)
    check = stream_check(StreamStatus("ratings", "Redis stream ratings", (partition(**changed),), (view,)))
    assert check.state == state
    assert says in check.detail
