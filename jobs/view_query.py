"""The query that yields a view's rows, checked against the view before it runs: columns, types, how many,
which have no key, which share one. `view_rows.py` turns its record batches into rows of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import ibis.expr.datatypes as dt
from forebay.errors import NotUsable

from feature_store.schema import FeatureView
from jobs.arrow_columns import refusal
from jobs.sources import Sources, translated
from registry.definitions import Batch
from registry.dtypes import DType, Scalar


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What a query returns: all rows, those without a key, those that a newer row of their key replaces."""

    returned: int
    keyless: int
    repeated: int

    @property
    def loadable(self) -> int:
        return self.returned - self.keyless - self.repeated


class WrongColumns(NotUsable):
    """Columns that are missing, or whose type doesn't fit: `misfits` are the sentences about the latter."""

    def __init__(self, missing: Sequence[str], misfits: Sequence[str]) -> None:
        super().__init__("\n".join([*missing, *misfits]))
        self.misfits = frozenset(misfits)


class ViewQuery:
    """A batch's rows as the view wants them. Making it runs nothing but the planning of the query.

    Raises: WrongColumns naming the view, every column that is missing or doesn't fit, and the columns there
    are.
    """

    def __init__(self, sources: Sources, view: FeatureView, batch: Batch) -> None:
        self.view = view
        self.executors = sources.executors
        self._sources = sources
        self._place = f"views.{view.name}.batch"
        self._table = sources.table(batch, wanted_by=f"views.{view.name}")
        self._origin = f"source {batch.source}" if batch.source else "the SQL"
        self._keys = [field.name for field in view.key]
        columns = list(self._table.columns)
        wanted_time = sources.event_time_of(batch)
        self.event_time = wanted_time if wanted_time in columns else None
        if self.event_time is None and wanted_time != "event_time":
            raise NotUsable(self._missing(wanted_time, "the source's event_time"))
        self._check_columns()

    def read_since(self, since_us: int) -> None:
        """Return from now on only rows of that event time and later, and those that carry none: they happened
        when the refresh began."""
        if self.event_time is None:
            raise ValueError(f"rows of view {self.view.name} carry no event time")
        column = self._table[self.event_time]
        if column.type().is_integer():
            since: Any = ibis.literal(since_us)
        else:
            zone = "UTC" if getattr(column.type(), "timezone", None) else None
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_us)
            since = ibis.literal(at.replace(tzinfo=None), type=dt.Timestamp(timezone=zone))
        self._table = self._table.filter((column >= since) | column.isnull())

    def count(self) -> RowCounts:
        """Run the query for its counts alone. Cost: one pass that reads only what keys and filters need.

        Grouped, because the engine counts groups faster than distinct values, and spills them to disk.
        """
        keys = self._table.group_by(self._keys).aggregate(forebay_rows=self._table.count())
        has_key = ibis.and_(*(keys[name].notnull() for name in self._keys))
        counts = keys.aggregate(
            returned=keys.forebay_rows.sum().coalesce(0),
            keyed=keys.forebay_rows.sum(where=has_key).coalesce(0),
            distinct=keys.count(where=has_key),
        )
        # Not to_pyarrow(): that imports pandas, half a second in which nothing is refreshed.
        [row] = self._sources.fetched(counts, place=self._place).to_pylist()
        returned, keyed, distinct = (int(row[name]) for name in ("returned", "keyed", "distinct"))
        return RowCounts(returned, returned - keyed, keyed - distinct)

    def batches(self, counts: RowCounts, chunk_rows: int) -> Iterator[Any]:
        """Yield Arrow record batches of at most `chunk_rows`: of each key the row with the newest event time.

        Cost: streamed, so that memory doesn't grow with the rows, unless keys are repeated: then the engine
        sorts them first.
        """
        with translated(self._place):
            yield from self.loadable(counts).to_pyarrow_batches(chunk_size=chunk_rows)

    def loadable(self, counts: RowCounts) -> Any:
        """Return the rows that `batches` yields as an expression."""
        table = self._keyed() if counts.keyless else self._table
        if counts.repeated:
            table = self._newest_per_key()
        return table.select(*self._selected())

    @property
    def place(self) -> str:
        """Where the query stands in the application file, for errors."""
        return self._place

    @property
    def table(self) -> Any:
        """The rows as the query gives them: keys, features, and the event time where there is one."""
        return self._table.select(*self._selected())

    def tie_order(self, table: Any) -> list[Any]:
        """Return how rows of one key and one event time are ordered, the one that counts first: by their
        features, the greater first, in the order of the view. So a source whose rows lie otherwise gives the
        same view, and so does a training set made of it."""
        return [ibis.desc(table[feature.name], nulls_first=False) for feature in self.view.schema.features]

    def _selected(self) -> list[str]:
        names = [*self._keys, *(feature.name for feature in self.view.schema.features)]
        return list(dict.fromkeys([*names, self.event_time] if self.event_time else names))

    def _keyed(self) -> Any:
        return self._table.filter([self._table[name].notnull() for name in self._keys])

    def _newest_per_key(self) -> Any:
        keyed = self._keyed()
        # A row without an event time happened when the refresh started, which is the newest of all.
        newest_first = [ibis.desc(keyed[self.event_time], nulls_first=True)] if self.event_time else []
        order = [*newest_first, *self.tie_order(keyed)]
        rank = ibis.row_number().over(group_by=self._keys, order_by=order)
        ranked = keyed.mutate(forebay_rank=rank)
        return ranked.filter(ranked.forebay_rank == 0)

    def _check_columns(self) -> None:
        dtypes = {field.name: field.dtype for field in self.view.key}
        dtypes |= {feature.name: feature.dtype for feature in self.view.schema.features}
        if self.event_time:
            dtypes.setdefault(self.event_time, DType(Scalar.TIMESTAMP))
        with translated(self._place):
            types = {field.name: field.type for field in self._table.schema().to_pyarrow()}
        missing = [self._missing(name, "the view") for name in dtypes if name not in types]
        misfits: list[str] = []
        for name, dtype in dtypes.items():
            reason = refusal(types[name], dtype) if name in types else ""
            if reason:
                misfits.append(f"{self._place}: column {name} of {self._origin} can't be {dtype}: {reason}")
        if missing or misfits:
            raise WrongColumns(missing, misfits)

    def _missing(self, name: str, wanted_by: str) -> str:
        there = ", ".join(self._table.columns)
        return f"{self._place}: {self._origin} has no column {name}, which {wanted_by} needs; it has {there}"
