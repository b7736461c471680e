"""Labels as they are given, checked and numbered: what happened, to whom, and when it was asked. Views are
joined to the numbered file (`as_of.py`), the training set is written in its order (`training_set.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from forebay.errors import InvalidRequest

from jobs.sources import Sources
from jobs.training.label_values import checked_key, checked_times
from registry.dtypes import DType

LABEL = "forebay_label"
"""The label's number, from 0, in the order they were given."""
TIME_US = "forebay_time_us"
"""The label's time in microseconds, UTC."""
RESERVED = "forebay_"
CHUNK_ROWS = 10_000

_SQL_WORDS = ("select", "with", "from", "values", "(")
_REPEATED_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Labels:
    """`count` labels in the Parquet file `path`: the columns as given, the label's number and time, and each
    key field once more, converted to its type, as `key_column` names it."""

    path: Path
    count: int
    columns: tuple[str, ...]
    time: str


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Where labels come from: a Parquet or CSV file, or SQL over the application's sources; the column of
    their time; whether a key may repeat at one time."""

    given: str
    time: str
    allow_repeated: bool = False


def key_column(name: str) -> str:
    """Return the column of the labels' file that holds a key field, converted."""
    return f"{RESERVED}key_{name}"


def read_labels(
    sources: Sources,
    options: LabelOptions,
    keys: Mapping[str, DType],
    made: Sequence[str],
    directory: Path,
    now_us: int,
) -> Labels:
    """Return the labels, checked and written to `directory`. `keys` are the key fields that they must have,
    `made` the columns that the training set adds.

    Raises: InvalidRequest naming the column that is missing, of another type, holds no key, no time, or one
    in the future; that repeats; NotUsable where the file or the query can't be read.
    Cost: blocking; streamed. Two passes.
    """
    path = directory / "labels.parquet"
    with sources.rows(_query(options.given), CHUNK_ROWS, place="labels") as reader:
        _check_columns(reader.schema, options, keys, made)
        count = _write(reader, options, keys, path, now_us)
    if not count:
        raise InvalidRequest("labels: there is not one row", field="labels")
    labels = Labels(path, count, tuple(reader.schema.names), options.time)
    if not options.allow_repeated:
        _check_repeated(sources, labels, keys)
    return labels


def _query(given: str) -> str:
    """Return the query that reads what `--labels` names."""
    text = given.strip()
    if text.lower().startswith(_SQL_WORDS) and any(mark in text for mark in " \n\t"):
        return given
    path = Path(text).absolute()
    if not path.is_file():
        raise InvalidRequest(f"labels: there is no file {path}", field="labels")
    quoted = str(path).replace("'", "''")
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return f"select * from read_csv('{quoted}', header = true, sample_size = -1)"
    return f"select * from read_parquet('{quoted}')"


def _check_columns(
    schema: Any, options: LabelOptions, keys: Mapping[str, DType], made: Sequence[str]
) -> None:
    names = list(schema.names)
    there = f"; they have {', '.join(names)}"
    missing = [name for name in keys if name not in names]
    if missing:
        raise InvalidRequest(f"labels: no column {', '.join(missing)}, a key{there}", field=missing[0])
    if options.time not in names:
        raise InvalidRequest(
            f"labels: no column {options.time}, the label's time (--time names another){there}",
            field=options.time,
        )
    for name in names:
        if name.startswith(RESERVED) or name in made or names.count(name) > 1:
            raise InvalidRequest(
                f"labels: column {name} is given twice, or is one that the training set makes: rename it",
                field=name,
            )


def _write(reader: Any, options: LabelOptions, keys: Mapping[str, DType], path: Path, now_us: int) -> int:
    count = 0
    writer: pq.ParquetWriter | None = None
    try:
        for batch in _numbered(reader, options, keys, now_us):
            writer = writer or pq.ParquetWriter(path, batch.schema)
            writer.write_batch(batch)
            count += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return count


def _numbered(
    reader: Any, options: LabelOptions, keys: Mapping[str, DType], now_us: int
) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in reader:
        if not batch.num_rows:
            continue
        made = {
            LABEL: pa.array(range(start, start + batch.num_rows), pa.int64()),
            TIME_US: pa.array(checked_times(options.time, batch.column(options.time), start, now_us)),
        }
        made |= {
            key_column(name): checked_key(name, batch.column(name), dtype, start)
            for name, dtype in keys.items()
        }
        arrays = [*batch.columns, *made.values()]
        yield pa.RecordBatch.from_arrays(arrays, names=[*batch.schema.names, *made])
        start += batch.num_rows


def _check_repeated(sources: Sources, labels: Labels, keys: Mapping[str, DType]) -> None:
    """Raises: InvalidRequest where a key has two labels of one time."""
    table = sources.file(labels.path, f"{RESERVED}labels_checked")
    by = [*map(key_column, keys), TIME_US]
    groups = table.group_by(by).aggregate(rows=table.count(), first=table[LABEL].min())
    repeated = groups.filter(groups.rows > 1).order_by("first")
    found = sources.fetched(repeated.select("rows", "first").limit(_REPEATED_SHOWN + 1), place="labels")
    if found.num_rows:
        rows = [row + 1 for row in found.column("first").to_pylist()[:_REPEATED_SHOWN]]
        more = " and more" if found.num_rows > _REPEATED_SHOWN else ""
        raise InvalidRequest(
            f"labels: {', '.join((*keys, labels.time))} have the same values in several rows (those of rows "
            f"{', '.join(map(str, rows))}{more}): leave them out, or allow them (--allow-repeated)",
            field=labels.time,
        )


def label_batches(labels: Labels, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the labels' file again, `rows` rows at a time."""
    with pq.ParquetFile(labels.path) as file:
        yield from file.iter_batches(batch_size=rows)


def extremes_us(labels: Labels) -> tuple[int, int]:
    """Return the time of the oldest and of the newest label."""
    times = pq.read_table(labels.path, columns=[TIME_US])[TIME_US]
    found = pc.min_max(times).as_py()
    return found["min"], found["max"]
