"""The past of a stream, read from the source that it names as `history`: which events matter to a view, in an
order that is the same each time, in chunks.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from forebay.errors import NotUsable

from jobs.arrow_columns import ColumnError, column_data, refusal
from jobs.fingerprint import source_files
from jobs.sources import Sources, translated
from jobs.stream.event_columns import are_key_texts
from jobs.stream.events import Column, EventField, Events
from registry.definitions import Stream
from registry.dtypes import DType, Scalar
from registry.plan import Plan

_TIMESTAMP = DType(Scalar.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class HistoryChunk:
    """Events of the history; their positions are their places in it. `end`: the place behind them; `invalid`:
    how many rows of the chunk are none, for they lack a key, or have a text that can't be one."""

    events: Events
    end: int
    invalid: int


class History:
    """A stream's history as one view needs it: the columns named as `fields`, and the event time.

    Blocking, for a thread. Raises: NotUsable where the source lacks a column, or has one that doesn't fit;
    InvalidRequest where its SQL is wrong.
    """

    def __init__(
        self, sources: Sources, stream: Stream, fields: Sequence[EventField], plan: Plan, view: str
    ) -> None:
        self._sources = sources
        self._source = stream.history or ""
        self._plan = plan
        self._place = f"sources.{self._source}, as the history of view {view}"
        declared = plan.application.sources[self._source]
        self._time = declared.event_time or stream.event_time
        self._fields = fields
        self._names = list(dict.fromkeys([*(one.name for one in fields), self._time]))
        self._check()

    def files(self) -> str:
        """Return what tells one state of the source's files from another; empty where that can't be told."""
        return source_files(self._plan, self._source)

    def newest_us(self, now_us: int) -> int | None:
        """Return the newest event time that isn't after `now_us`; None where there is none."""
        [[newest]] = self._rows(f"select max({_US}) from {self._table()} where {_US} <= {now_us}")
        return None if newest is None else int(newest)

    def count(self, since_us: int, cut_us: int) -> int:
        """Return how many rows lie after `since_us`, up to `cut_us`."""
        [[count]] = self._rows(f"select count(*) from {self._table()} where {_between(since_us, cut_us)}")
        return int(count)

    def chunks(self, since_us: int, cut_us: int, skip: int, size: int) -> Generator[HistoryChunk]:
        """Yield the events after `since_us`, up to `cut_us`, in the order of time; equal times by all their
        values, so that the order is the same each time. The first `skip` are left out.

        Cost: constant memory; the engine sorts, on disk where it must.
        """
        columns = ", ".join(f'"{name}"' for name in self._names)
        query = (
            f"select {columns}, {_US} as forebay_us from {self._table()} "
            f"where {_between(since_us, cut_us)} order by forebay_us, {columns} offset {skip}"
        )
        position = skip
        with self._sources.rows(query, size, place=self._place) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, size):
                    chunk = self._chunk(batch.slice(start, size), position)
                    position = chunk.end
                    yield chunk

    def _chunk(self, batch: Any, position: int) -> HistoryChunk:
        keyed = np.ones(batch.num_rows, np.bool_)
        for field in self._fields:
            if field.required:
                keyed &= pc.is_valid(batch.column(field.name)).to_numpy(zero_copy_only=False)
            if field.is_key_text:
                texts = batch.column(field.name).cast(pa.string())
                keyed &= are_key_texts(texts).fill_null(False).to_numpy(zero_copy_only=False)
        positions = position + np.arange(batch.num_rows)
        whole = batch if keyed.all() else batch.filter(pa.array(keyed))
        columns = {field.name: self._column(whole, field) for field in self._fields}
        times_us = whole.column("forebay_us").to_numpy(zero_copy_only=False)
        events = Events(positions[keyed], times_us, columns)
        return HistoryChunk(events, position + batch.num_rows, int(batch.num_rows - keyed.sum()))

    def _column(self, batch: Any, field: EventField) -> Column:
        try:
            data = column_data(batch.column(field.name), field.dtype)
        except ColumnError as error:
            raise NotUsable(f"{self._place}: column {field.name} can't be {field.dtype}: {error}") from error
        scalar = field.dtype.scalar
        if scalar is Scalar.STRING:
            texts: Any = data.values
            return list(texts)
        values = np.asarray(data.values)
        if field.required and not scalar.is_float:
            return values.astype(np.int64)
        numbers = values.astype(scalar.numpy if scalar.is_float else np.float64)
        if data.nulls is not None:
            numbers[data.nulls] = np.nan
        numbers[np.isinf(numbers)] = np.nan
        return numbers

    def _check(self) -> None:
        table = self._sources.named(self._source)
        with translated(self._place):
            types = {field.name: field.type for field in table.schema().to_pyarrow()}
        wanted = {field.name: field.dtype for field in self._fields} | {self._time: _TIMESTAMP}
        problems = []
        for name, dtype in wanted.items():
            if name not in types:
                problems.append(f"{self._place}: no column {name}; it has {', '.join(types)}")
            elif reason := refusal(types[name], dtype):
                problems.append(f"{self._place}: column {name} can't be {dtype}: {reason}")
        if problems:
            raise NotUsable("\n".join(problems))
        self._whole = pa.types.is_integer(types[self._time])

    def _table(self) -> str:
        """Return the source with one column more: the event time in microseconds."""
        us = f'"{self._time}"' if self._whole else f'epoch_us("{self._time}"::timestamptz)'
        return f'(select *, {us} as forebay_event_us from "{self._source}")'

    def _rows(self, query: str) -> list[list[Any]]:
        with self._sources.rows(query, 1, place=self._place) as reader:
            return [list(row.values()) for row in reader.read_all().to_pylist()]


_US = "forebay_event_us"


def _between(since_us: int, cut_us: int) -> str:
    return f"{_US} > {since_us} and {_US} <= {cut_us}"
