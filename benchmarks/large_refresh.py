"""The refresh of a million rows: how fast beside bare pipelined SETs, and how much memory its process takes.
One view of 60 float columns, from one Parquet file that is written in parts and kept between runs.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.bench import Bench, MeasurementFailed
from benchmarks.pairs import Figure, Pair, Sample, interleaved, ratio_figure
from benchmarks.prepared import forebay
from benchmarks.processes import run, run_json, run_peak_mb
from benchmarks.raw_store import RawStore
from runtime.embedded_store import TemporaryStore

_APP = "large"
_VIEW = "wide"
_ROWS = 1_000_000
_COLUMNS = 60
_PART_ROWS = 100_000
_CHUNK = 1_000
_ROW_KEYS = "f{*"


def rate(bench: Bench) -> Figure:
    """The refresh's rows per second, from when it begins to when the rows are live, over the floor's."""
    return ratio_figure(bench.once(_pairs), "rows/s", {"rows": _rows(bench), "columns": _COLUMNS})


def peak_memory(bench: Bench) -> Figure:
    """The most that the refresh's process had resident, in MB of a million bytes: the worst of all runs."""
    peaks = [pair.ours.facts["peak_mb"] for pair in bench.once(_pairs)]
    return Figure(max(peaks), "MB", max(peaks), facts={"peaks_mb": peaks, "rows": _rows(bench)})


def _rows(bench: Bench) -> int:
    """Return how many rows: a quick look takes ten for each of its entities."""
    return min(_ROWS, 10 * bench.options.entities)


def _pairs(bench: Bench) -> list[Pair]:
    directory = bench.work / f"large-{_rows(bench)}"
    if not (directory / "application.yaml").exists():
        bench.say(f"writing {_rows(bench):,} rows")
        _write(directory, _rows(bench))
    bench.say("rows for the floor")
    keys, rows = _stored(bench, directory)
    return interleaved(
        partial(_pipeline, keys, rows),
        lambda: _refresh(bench, directory),
        bench.options.repeats,
        bench.tick,
    )


def _write(directory: Path, rows: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"w{number:02d}" for number in range(_COLUMNS)]
    rng = np.random.default_rng(_COLUMNS)
    schema = pa.schema([("item_id", pa.int64()), *[(name, pa.float32()) for name in names]])
    with pq.ParquetWriter(directory / "wide.parquet", schema, compression="zstd") as writer:
        for start in range(0, rows, _PART_ROWS):
            keys = np.arange(start, min(start + _PART_ROWS, rows))
            values = rng.standard_normal((_COLUMNS, len(keys)), np.float32)
            writer.write_table(pa.table([keys, *values], schema=schema))
    definition = {
        "app": _APP,
        "entities": {"item": {"key": {"item_id": "int64"}}},
        "sources": {_VIEW: {"parquet": "wide.parquet"}},
        "views": {
            _VIEW: {
                "entity": "item",
                "batch": {"source": _VIEW, "publish": "swap"},
                "features": dict.fromkeys(names, "float32"),
            }
        },
    }
    (directory / "application.yaml").write_text(yaml.safe_dump(definition, sort_keys=False))


def _stored(bench: Bench, directory: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the keys and rows that a refresh stores."""
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        _refreshed(store, bench, directory)
        keys = list(raw.keys(_ROW_KEYS))
        rows: list[bytes] = []
        for start in range(0, len(keys), _CHUNK):
            rows += raw.execute("MGET", *keys[start : start + _CHUNK])
    return keys, rows


def _pipeline(keys: list[bytes], rows: list[bytes]) -> Sample:
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        start_s = time.perf_counter()
        raw.set_many(keys, rows)
        return Sample(len(keys) / (time.perf_counter() - start_s))


def _refresh(bench: Bench, directory: Path) -> Sample:
    with TemporaryStore() as store:
        return _refreshed(store, bench, directory)


def _refreshed(store: TemporaryStore, bench: Bench, directory: Path) -> Sample:
    """Refresh into an empty store; return the rate, and the process's peak beside it."""
    run(forebay(store, directory, "apply", str(directory / "application.yaml")), directory)
    peak_mb = run_peak_mb(forebay(store, directory, "refresh", "run", "--app", _APP), directory)
    (batch,) = run_json(forebay(store, directory, "batches", "--json", "--app", _APP), directory)
    if batch["row_count"] != _rows(bench) or batch["status"] != "done":
        raise MeasurementFailed(f"the refresh wrote {batch['row_count']} rows and is {batch['status']}")
    job_s = (batch["finished_at_us"] - batch["started_at_us"]) / 1e6
    return Sample(_rows(bench) / job_s, {"job_s": job_s, "peak_mb": peak_mb})
