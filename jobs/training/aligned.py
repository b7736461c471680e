"""Parquet files read in step: as many rows of each at a time, whatever their row groups are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def chunks(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows, `rows` at a time; the last may be fewer. Cost: memory for two chunks."""
    with pq.ParquetFile(path) as file:
        kept = file.schema_arrow.empty_table()
        for batch in file.iter_batches(batch_size=rows):
            kept = pa.concat_tables([kept, pa.Table.from_batches([batch])])
            while kept.num_rows >= rows:
                yield _one(kept.slice(0, rows))
                kept = kept.slice(rows)
        if kept.num_rows:
            yield _one(kept)


def _one(table: pa.Table) -> pa.RecordBatch:
    [batch] = table.combine_chunks().to_batches()
    return batch
