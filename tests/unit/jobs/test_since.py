"""From where an incremental refresh goes on: never past a gap, never past a clock that was wrong."""

from __future__ import annotations

import pytest
from forebay.errors import InvalidRequest

from jobs.since import covered_until_us, since_us
from registry.batch import BatchRecord, Figures


def record(
    newest: int | None, since: int | None = None, status: str = "done", definition: str = "d"
) -> BatchRecord:
    figures = Figures(newest_event_time_us=newest, since_us=since, definition=definition)
    return BatchRecord("b", 1, "refresh", status=status, started_at_us=1_000, figures={"v": figures})  # type: ignore[arg-type]


def covered(*oldest_first: BatchRecord) -> int | None:
    return covered_until_us(oldest_first[::-1], "v", "d")


def test_nothing_is_covered_when_no_whole_batch_was_done() -> None:
    assert covered() is None
    assert covered(record(5, status="failed"), record(5, status="refused")) is None
    assert covered(record(50, since=20)) is None


def test_parts_extend_what_is_covered() -> None:
    assert covered(record(20), record(50, since=20), record(None, since=50)) == 50


def test_part_after_a_gap_covers_nothing() -> None:
    assert covered(record(20), record(90, since=60)) == 20


def test_rows_of_another_definition_do_not_count() -> None:
    assert covered(record(20, definition="older")) is None
    assert covered(record(20), record(30, definition="other"), record(40, since=20)) is None


def test_time_after_the_batch_began_counts_as_its_beginning() -> None:
    assert covered(record(9_999)) == 1_000


def test_time_is_utc_when_it_names_no_zone() -> None:
    assert since_us("1970-01-01T00:00:01") == since_us("1970-01-01T01:00:01+01:00") == 1_000_000
    assert since_us("1970-01-02") == 86_400_000_000
    with pytest.raises(InvalidRequest, match="--since takes `last` or a time"):
        since_us("yesterday")
