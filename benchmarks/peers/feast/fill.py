"""Sets Feast up and loads rows: `python -m benchmarks.peers.feast.fill --socket PATH --data DIRECTORY
--repository DIRECTORY --rows COUNT`, where the data is `static.parquet` and `stream.parquet`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.peers.feast.repository import EVENT_TIME, KEY, apply, write_settings

_VIEWS = ("static", "stream")
_CHUNK = 5_000


def main() -> int:
    """Register the views and write the first rows of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    options = parser.parse_args()
    tables = {view: pq.ParquetFile(options.data / f"{view}.parquet") for view in _VIEWS}
    names = {
        view: [name for name in table.schema_arrow.names if name != KEY] for view, table in tables.items()
    }
    write_settings(options.repository, options.socket)
    store = apply(options.repository, names)
    now = datetime.now(UTC)
    for view, table in tables.items():
        left = options.rows
        for batch in table.iter_batches(_CHUNK):
            frame = batch.to_pandas().head(left).assign(**{EVENT_TIME: now})
            left -= len(frame)
            if len(frame):
                store.write_to_online_store(view, frame)
    return 0


if __name__ == "__main__":
    sys.exit(main())
