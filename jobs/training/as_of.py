"""The rows of a batch view as they were known at each label's time: of each key the newest that had happened.
Written per view as one Parquet file in the labels' order, which `view_values.py` reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
from forebay.errors import InvalidRequest

from jobs.sources import Sources
from jobs.training.labels import LABEL, RESERVED, TIME_US, Labels, key_column
from jobs.training.wanted import Join, WantedView
from jobs.view_query import ViewQuery
from registry.definitions import Batch

EVENT_US = "forebay_event_us"
"""The event time of the row that was joined; null where there is none."""
FOUND = "forebay_found"
"""True where there is a row."""
_ROW_KEY = f"{RESERVED}row_"


def join_batch_view(sources: Sources, labels: Labels, wanted: WantedView, batch: Batch, path: Path) -> None:
    """Write, for each label, the view's row that was known at its time: `path` has as many rows as there are
    labels, in their order.

    A view that is refreshed every so often knows at a label's time what had happened by the refresh before.
    Raises: InvalidRequest for a view whose rows carry no event time, unless it is joined as it is; as
    ViewQuery.
    """
    query = ViewQuery(sources, wanted.view, batch)
    if query.event_time is None and wanted.join is Join.AS_OF:
        raise InvalidRequest(
            f"view {wanted.name} can't be joined as of a time: its rows carry no event time. Name one in the "
            "source (event_time:) or return event_time from the SQL; or take it as it is today, which tells "
            f"the model what was not known yet: --as-is {wanted.name}",
            field=wanted.name,
        )
    place = f"views.{wanted.name}"
    rows = _rows(sources, query)
    keys = [field.name for field in wanted.view.key]
    asked = sources.file(labels.path, f"{RESERVED}labels")
    asked = asked.select(LABEL, TIME_US, *map(key_column, keys))
    if wanted.join is Join.AS_IS:
        newest = _first(rows, query, keys, within=[], order=[ibis.desc(rows[EVENT_US], nulls_first=True)])
        joined = asked.left_join(newest, _same_keys(asked, newest, keys))
    else:
        known = _without_ties(sources, rows.filter(rows[EVENT_US].notnull()), query, keys)
        asked = asked.mutate(**{TIME_US: _known_until(asked[TIME_US], wanted.every_us)})
        joined = sources.newest_by(asked, known, (TIME_US, EVENT_US), _same_keys(asked, known, keys))
    names = [feature.name for feature in wanted.view.schema.features]
    sources.write(joined.select(LABEL, FOUND, EVENT_US, *names).order_by(LABEL), path, place=place)


def _known_until(time_us: Any, every_us: int | None) -> Any:
    """Return until which event time the view's rows are known at a label's time."""
    if every_us is None:
        return time_us
    return time_us - since_refresh(time_us, every_us)


def since_refresh(time_us: Any, every_us: int) -> Any:
    """Return how long before each time the last refresh was, of those at the multiples of `every_us`."""
    return (time_us % every_us + every_us) % every_us


def _rows(sources: Sources, query: ViewQuery) -> Any:
    """Return the view's rows that have a key: keys renamed, the event time in microseconds."""
    table = query.table
    keys = {_ROW_KEY + field.name: table[field.name] for field in query.view.key}
    features = {feature.name: table[feature.name] for feature in query.view.schema.features}
    event_us: Any = ibis.literal(None, type="int64")
    if query.event_time is not None:
        event_us = sources.micros(table[query.event_time])
    selected = table.select(**keys, **{EVENT_US: event_us, FOUND: ibis.literal(value=True)}, **features)
    return selected.filter([selected[name].notnull() for name in keys])


def _without_ties(sources: Sources, rows: Any, query: ViewQuery, keys: list[str]) -> Any:
    """Return the rows, one for each key and event time. Cost: a pass that counts; a sort where needed."""
    by = [*(_ROW_KEY + name for name in keys), EVENT_US]
    groups = rows.group_by(by).aggregate(forebay_rows=rows.count())
    ties = groups.aggregate(ties=groups.count(where=groups.forebay_rows > 1))
    counted = sources.fetched(ties, place=f"views.{query.view.name}")
    if not counted.column("ties")[0].as_py():
        return rows
    return _first(rows, query, keys, within=[EVENT_US], order=[])


def _first(rows: Any, query: ViewQuery, keys: list[str], within: list[str], order: list[Any]) -> Any:
    by = [*(_ROW_KEY + name for name in keys), *within]
    rank = ibis.row_number().over(group_by=by, order_by=[*order, *query.tie_order(rows)])
    ranked = rows.mutate(forebay_rank=rank)
    return ranked.filter(ranked.forebay_rank == 0).drop("forebay_rank")


def _same_keys(asked: Any, rows: Any, keys: list[str]) -> list[Any]:
    return [asked[key_column(name)] == rows[_ROW_KEY + name] for name in keys]
