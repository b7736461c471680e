"""Windows over a stream as they were at each label's time, out of the stream's `history`: by the rule of
covered tiles and the merge that serve (`feature_store/windows`). Written as `as_of.py` writes rows.

The engine makes the tiles: whole ones once for each key, and for each label the one that its time cuts. So
the cost grows with events and with labels, and not with their product."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.windows.covering import covered_after_us, tile_number
from feature_store.windows.merging import compile_windows, merged
from feature_store.windows.ring_row import RingForm
from jobs.sources import Sources
from jobs.stream.events import Events, event_fields
from jobs.stream.feed import numbers
from jobs.stream.history import History
from jobs.training.aligned import chunks
from jobs.training.as_of import EVENT_US, FOUND
from jobs.training.labels import CHUNK_ROWS, LABEL, RESERVED, TIME_US, Labels, extremes_us, key_column
from jobs.training.wanted import WantedView
from registry.dtypes import DType, Scalar
from registry.plan import Plan

_NUMBER, _FIRST, _US = "forebay_number", "forebay_first", "forebay_us"
_HISTORY_CHUNK = 100_000
_ARROW = {Scalar.INT32: pa.int32(), Scalar.INT64: pa.int64(), Scalar.STRING: pa.string()}


def join_window_view(sources: Sources, labels: Labels, wanted: WantedView, plan: Plan, path: Path) -> None:
    """Write, for each label, the view's windows at its time: `path` has as many rows as there are labels, in
    their order. Every label has a row: an entity without events has windows without.

    Raises: NotUsable for a history that lacks a column, or has one that doesn't fit.
    """
    form = wanted.view.ring
    if form is None:
        raise ValueError(f"view {wanted.name} isn't over a stream")
    directory = path.parent
    events, asked, tiles = (
        directory / f"{kind}_{wanted.name}.parquet" for kind in ("events", "asked", "tiles")
    )
    _write_asked(labels, wanted, form, asked)
    _write_events(sources, labels, wanted, plan, form, events)
    tables = sources.file(asked, f"{RESERVED}asked"), sources.file(events, f"{RESERVED}events")
    sources.write(_tiles(*tables, wanted, form), tiles, place=f"views.{wanted.name}")
    _write_rows(labels, wanted, form, tiles, path)
    for made in (events, asked, tiles):
        made.unlink()


def _write_asked(labels: Labels, wanted: WantedView, form: RingForm, path: Path) -> None:
    """Write each label's key and time, and the first and the last tile that its windows cover."""
    keys = [key_column(field.name) for field in wanted.view.key]
    tile_us = form.ring.tile_us
    writer: pq.ParquetWriter | None = None
    for batch in chunks(labels.path, CHUNK_ROWS):
        times_us = batch.column(TIME_US).to_numpy()
        after_us = [
            covered_after_us(times_us, one.over_us, one.tile_us) for one in wanted.view.windows.values()
        ]
        made = {
            **{name: batch.column(name) for name in (LABEL, TIME_US, *keys)},
            _FIRST: np.minimum.reduce(after_us) // tile_us,
            _NUMBER: tile_number(times_us, tile_us),
        }
        table = pa.table(made)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _write_events(
    sources: Sources, labels: Labels, wanted: WantedView, plan: Plan, form: RingForm, path: Path
) -> None:
    """Write the events that any label's windows cover, as the stream's worker would have applied them."""
    name = plan.application.views[wanted.name].stream or ""
    keys = {field.name: field.dtype for field in wanted.view.key}
    values = [field.name for field in form.ring.fields]
    fields = [field for field in event_fields(plan.application, name) if field.name in {*keys, *values}]
    history = History(sources, plan.application.streams[name], fields, plan, wanted.name)
    oldest_us, newest_us = extremes_us(labels)
    windows = wanted.view.windows.values()
    since_us = min(covered_after_us(oldest_us, window.over_us, window.tile_us) for window in windows)
    types = {_US: pa.int64(), _NUMBER: pa.int64()}
    types |= {key_column(key): _ARROW[dtype.scalar] for key, dtype in keys.items()}
    types |= {_value(place): pa.float64() for place in range(len(values))}
    with pq.ParquetWriter(path, pa.schema(list(types.items()))) as writer:
        for chunk in history.chunks(since_us, newest_us, 0, _HISTORY_CHUNK):
            if chunk.events.count:
                arrays = _event_arrays(chunk.events, keys, values, form.ring.tile_us)
                writer.write_table(pa.table(arrays, schema=writer.schema))


def _event_arrays(events: Events, keys: dict[str, DType], values: list[str], tile_us: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        _US: events.event_times_us,
        _NUMBER: tile_number(events.event_times_us, tile_us),
    }
    for key, dtype in keys.items():
        made[key_column(key)] = pa.array(events.columns[key]).cast(_ARROW[dtype.scalar])
    for place, name in enumerate(values):
        floats = numbers(events.columns[name]).astype(np.float64)
        made[_value(place)] = pa.array(floats, mask=np.isnan(floats))
    return made


def _value(place: int) -> str:
    return f"{RESERVED}value_{place}"


def _part(offset: int) -> str:
    return f"{RESERVED}part_{offset}"


def _tiles(asked: Any, events: Any, wanted: WantedView, form: RingForm) -> Any:
    """Return the tiles of all labels, in their order: the whole ones, and the one that the label's time
    cuts."""
    keys = [key_column(field.name) for field in wanted.view.key]
    whole = events.group_by([*keys, _NUMBER]).aggregate(**_parts(events, form))
    numbered = asked.mutate(**{_NUMBER: ibis.range(asked[_FIRST], asked[_NUMBER]).unnest()})
    joined = numbered.inner_join(whole, [*keys, _NUMBER])
    names = [LABEL, _NUMBER, EVENT_US, *(_part(offset) for offset in range(1, form.width))]
    cut = asked.select(LABEL, TIME_US, _NUMBER, *keys).inner_join(events, [*keys, _NUMBER])
    cut = cut.filter(cut[_US] <= cut[TIME_US])
    last = cut.group_by([LABEL, _NUMBER]).aggregate(**_parts(cut, form))
    return joined.select(*names).union(last.select(*names)).order_by([LABEL, _NUMBER])


def _parts(table: Any, form: RingForm) -> dict[str, Any]:
    """Return the partial aggregates of a tile, by the columns of the ring; null where there is no value."""
    made: dict[str, Any] = {EVENT_US: table[_US].max()}
    for place, own in enumerate(form.offsets):
        value, at_us = table[_value(place)], table[_US]
        made_of = {
            "count": lambda value=value: value.count(),
            "sum": lambda value=value: value.sum(),
            "m2": lambda value=value: value.var(how="pop") * value.count(),
            "min": lambda value=value: value.min(),
            "max": lambda value=value: value.max(),
        }
        for part, offset in own.items():
            if part == "last":
                # Of two events at one instant the greater.
                made[_part(offset)] = value.argmax(
                    ibis.struct({"at": at_us, "value": value}), where=value.notnull()
                )
                made[_part(offset + 1)] = at_us.max(where=value.notnull()).cast("float64")
            else:
                made[_part(offset)] = made_of[part]().cast("float64")
    return made


def _write_rows(labels: Labels, wanted: WantedView, form: RingForm, tiles: Path, path: Path) -> None:
    """Merge each label's tiles into its windows, and write them in the order of the labels."""
    merges = compile_windows(form, wanted.view.windows)
    writer: pq.ParquetWriter | None = None
    with pq.ParquetFile(tiles) as file:
        tiles_of = _Cutter(file)
        for batch in chunks(labels.path, CHUNK_ROWS):
            numbers_of = batch.column(LABEL).to_numpy()
            own = tiles_of.until(int(numbers_of[-1]))
            table = _windows(wanted, form, own, numbers_of, batch.column(TIME_US).to_numpy(), merges)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    if writer is not None:
        writer.close()


class _Cutter:
    """Reads a file that is in the order of labels, up to one label at a time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._batches: Iterator[Any] = file.iter_batches(batch_size=CHUNK_ROWS)
        self._kept = file.schema_arrow.empty_table()

    def until(self, label: int) -> pa.Table:
        """Return what is left of the labels up to `label`."""
        parts = [self._kept]
        while not parts[-1].num_rows or parts[-1].column(LABEL)[-1].as_py() <= label:
            batch = next(self._batches, None)
            if batch is None:
                break
            parts.append(pa.Table.from_batches([batch]))
        table = pa.concat_tables(parts)
        count = int(np.searchsorted(table.column(LABEL).to_numpy(), label, side="right"))
        self._kept = table.slice(count)
        return table.slice(0, count)


def _windows(
    wanted: WantedView,
    form: RingForm,
    tiles: pa.Table,
    labels: NDArray[np.int64],
    times_us: NDArray[np.int64],
    merges: Any,
) -> pa.Table:
    owners, counts = np.unique(tiles.column(LABEL).to_numpy() - labels[0], return_counts=True)
    event_us = np.full(len(labels), np.iinfo(np.int64).min)
    windows = {name: np.full(len(labels), np.nan) for name in wanted.view.windows}
    for name, window in wanted.view.windows.items():
        if window.count is not None or window.sum is not None:
            windows[name][:] = 0.0
    if len(owners):
        values = np.empty((tiles.num_rows, form.width))
        values[:, 0] = tiles.column(_NUMBER).to_numpy()
        for offset, identity in enumerate(form.identity, start=1):
            part = tiles.column(_part(offset)).to_numpy()
            values[:, offset] = np.where(np.isnan(part), identity, part)
        for name, found in merged(form, merges, values, counts, times_us[owners]).items():
            windows[name][owners] = found
        starts = np.cumsum(counts) - counts
        event_us[owners] = np.maximum.reduceat(tiles.column(EVENT_US).to_numpy(), starts)
    made: dict[str, Any] = {LABEL: labels, FOUND: np.ones(len(labels), np.bool_)}
    made[EVENT_US] = pa.array(event_us, mask=event_us == np.iinfo(np.int64).min)
    for name, found in windows.items():
        is_count = wanted.view.dtype(name).scalar is Scalar.INT64
        made[name] = np.nan_to_num(found).astype(np.int64) if is_count else found
    return pa.table(made)
