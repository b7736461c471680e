"""From which event time on an incremental refresh reads: `--since last` or a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from forebay.errors import InvalidRequest

from jobs.view_load import batch_of
from jobs.view_query import ViewQuery
from registry.batch import BatchRecord
from registry.plan import Plan

LAST = "last"


def since_us(text: str) -> int:
    """Return a time in ISO 8601 as microseconds; UTC where it names no zone. Raises: InvalidRequest."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"--since takes `{LAST}` or a time such as 2026-01-31T06:00, not {text!r}"
        ) from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1_000_000)


def check_incremental(plan: Plan, views: Sequence[str], queries: Mapping[str, ViewQuery]) -> None:
    """Raises: InvalidRequest naming every view that can't be refreshed in part, and why."""
    problems: list[str] = []
    for name in views:
        if batch_of(plan, name).publish == "swap":
            why = "it is swapped, so that what isn't read would be gone (publish: upsert keeps it)"
            problems.append(f"view {name} can't be refreshed since a time: {why}")
        elif queries[name].event_time is None:
            why = "its rows carry no event time (name one in the source, or return event_time from the SQL)"
            problems.append(f"view {name} can't be refreshed since a time: {why}")
    if problems:
        raise InvalidRequest("\n".join(problems))


def covered_until_us(records: Sequence[BatchRecord], view: str, definition: str) -> int | None:
    """Return until which event time the batches done have brought a view's rows; None: none for certain.

    `records` are the newest batches, newest first. A batch that read from a time on extends what others had
    covered by then, and nothing after a gap; rows made by another definition don't count. An event time after
    its batch began, by a wrong clock, counts as that beginning: rows until it are read again.
    """
    covered: int | None = None
    for record in reversed(records):
        figures = record.figures.get(view)
        if record.status != "done" or figures is None:
            continue
        if figures.definition != definition:
            covered = None
        elif figures.since_us is None or (covered is not None and figures.since_us <= covered):
            newest = min(figures.newest_event_time_us or 0, record.started_at_us)
            covered = max(covered or 0, newest) or None
    return covered
