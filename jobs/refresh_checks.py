"""Whether what a refresh counted may be published: each check of a view, its figure and its limit. What the
application file may ask for is `registry/batch_checks.py`; what needs no asking is here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.measures import Measures
from jobs.refused import Refused
from jobs.view_query import RowCounts
from registry.batch_checks import BatchChecks

MOST_SHRINKING = 0.5
"""The share of the live rows that a swap may lose where `rows.max_change` doesn't say."""
ALARMING_GROWTH = 1.0
"""The share of the live rows that a swap may add before it is remarked on."""
ALARMING_REPEATS = 0.1
"""The share of a query's rows that may repeat a key before it is remarked on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one view, by the name that records and options know it by, and what came of it.

    `says` tells the figure and the limit. An alarm is published, and remarked on; what is accepted would be
    broken, had nobody said that it is right.
    """

    name: str
    outcome: Literal["ok", "alarm", "broken", "accepted"]
    says: str


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What the row checks of a view go by. `live_rows`: those that a swap replaces; None where it replaces
    none. `is_part`: only the rows since some time are read, which may be none.
    """

    view: str
    counts: RowCounts
    live_rows: int | None
    is_part: bool = False


def check_rows(facts: RowFacts, checks: BatchChecks, accepted: Collection[str]) -> list[Finding]:
    """Return what the numbers of rows and keys amount to; known before a row is written."""
    found = [*_row_bounds(facts, checks), *_change(facts, checks), *_keys(facts, checks)]
    return [_accepted(finding, accepted) for finding in found]


def check_values(
    view: str, measures: Measures, checks: BatchChecks, accepted: Collection[str]
) -> list[Finding]:
    """Return what the values amount to; known when all of them have been seen."""
    found = [*_nulls(view, measures, checks), *_ranges(view, measures, checks)]
    return [_accepted(finding, accepted) for finding in found]


def refuse_broken(findings: Sequence[Finding]) -> None:
    """Raises: Refused, telling every broken check with its figure, its limit and the way past it."""
    broken = [finding for finding in findings if finding.outcome == "broken"]
    if not broken:
        return
    count = "a check is" if len(broken) == 1 else f"{len(broken)} checks are"
    lines = [f"  {finding.name}: {finding.says}" for finding in broken]
    past = "  if the data is right: " + " ".join(dict.fromkeys(_way_past(item) for item in broken))
    raise Refused("\n".join([f"{count} broken, and what is live stays live", *lines, past]))


def _way_past(finding: Finding) -> str:
    kind = finding.name.rpartition(".")[2]
    return {"empty": "--allow-empty", "shrink": "--allow-shrink"}.get(kind, f"--accept {finding.name}")


def _accepted(finding: Finding, accepted: Collection[str]) -> Finding:
    if finding.outcome == "broken" and finding.name in accepted:
        return Finding(finding.name, "accepted", finding.says)
    return finding


def _finding(name: str, is_met: bool, says: str) -> Finding:
    return Finding(name, "ok" if is_met else "broken", says)


def _row_bounds(facts: RowFacts, checks: BatchChecks) -> Iterator[Finding]:
    name, rows, bounds = f"{facts.view}.rows", facts.counts.loadable, checks.rows
    if facts.is_part:
        return
    keyless = facts.counts.keyless
    without = f" ({keyless:,} without a key)" if keyless else ""
    none = f"the batch of view {facts.view} returns no rows{without}"
    yield _finding(f"{name}.empty", rows > 0, f"{rows:,} rows" if rows else none)
    if bounds.min is not None and rows:
        yield _finding(f"{name}.min", rows >= bounds.min, f"{rows:,} rows; at least {bounds.min:,}")
    if bounds.max is not None:
        yield _finding(f"{name}.max", rows <= bounds.max, f"{rows:,} rows; at most {bounds.max:,}")


def _change(facts: RowFacts, checks: BatchChecks) -> Iterator[Finding]:
    rows, live = facts.counts.loadable, facts.live_rows
    if not live or not rows:
        return
    name, limit = f"{facts.view}.rows", checks.rows.max_change
    change = rows / live - 1
    figure = f"{rows:,} rows where {live:,} are live ({change:+.1%})"
    lost = MOST_SHRINKING if limit is None else limit
    yield _finding(f"{name}.shrink", change >= -lost, f"{figure}; at most {lost:.0%} fewer")
    if limit is not None:
        yield _finding(f"{name}.growth", change <= limit, f"{figure}; at most {limit:.0%} more")
    elif change > ALARMING_GROWTH:
        yield Finding(f"{name}.growth", "alarm", f"{figure}; more than twice as many keys")


def _keys(facts: RowFacts, checks: BatchChecks) -> Iterator[Finding]:
    counts = facts.counts
    if not counts.returned:
        return
    for kind, number, what, limit, alarming in (
        ("missing", counts.keyless, "have no key and were left out", checks.keys.missing, 0.0),
        ("repeated", counts.repeated, "repeat a key", checks.keys.repeated, ALARMING_REPEATS),
    ):
        share = number / counts.returned
        figure = f"{number:,} of {counts.returned:,} rows {what} ({share:.1%})"
        if limit is not None:
            yield _finding(f"{facts.view}.keys.{kind}", share <= limit, f"{figure}; at most {limit:.1%}")
        elif share > alarming:
            yield Finding(f"{facts.view}.keys.{kind}", "alarm", figure)


def _nulls(view: str, measures: Measures, checks: BatchChecks) -> Iterator[Finding]:
    if not measures.rows:
        return
    for feature, number in measures.nulls.items():
        share, limit = number / measures.rows, checks.nulls.get(feature)
        figure = f"{number:,} of {measures.rows:,} values are null ({share:.1%})"
        if limit is not None:
            yield _finding(f"{view}.nulls.{feature}", share <= limit, f"{figure}; at most {limit:.1%}")
        elif number == measures.rows:
            yield Finding(f"{view}.nulls.{feature}", "alarm", figure)


def _ranges(view: str, measures: Measures, checks: BatchChecks) -> Iterator[Finding]:
    for feature, allowed in checks.ranges.items():
        if feature not in measures.extremes:
            continue
        least, greatest = measures.extremes[feature]
        is_low = allowed.min is not None and least < allowed.min
        is_high = allowed.max is not None and greatest > allowed.max
        low = "" if allowed.min is None else f" from {allowed.min:g}"
        high = "" if allowed.max is None else f" to {allowed.max:g}"
        says = f"values from {least:g} to {greatest:g}; allowed{low}{high}"
        yield _finding(f"{view}.ranges.{feature}", not is_low and not is_high, says)
