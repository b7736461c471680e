"""The real refresh of a view from Parquet, measured against bare pipelined SETs of the same keys and rows."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.bench import Bench, MeasurementFailed
from benchmarks.pairs import Figure, Sample, interleaved, ratio_figure
from benchmarks.prepared import forebay
from benchmarks.processes import run, run_json
from benchmarks.raw_store import RawStore
from benchmarks.store_rows import view_keys
from benchmarks.workload import APP
from runtime.embedded_store import TemporaryStore

_VIEW = "static"
_CHUNK = 1_000


def refresh_rate(bench: Bench) -> Figure:
    """The refresh's rows per second, from when it begins to when the rows are live, over the floor's.

    The process's start isn't counted; reading Parquet, checks, encoding and publishing are.
    """
    application = bench.prepared
    keys = view_keys(application)[_VIEW]
    with RawStore(application.store.socket) as raw:
        rows = _rows(raw, keys)
    pairs = interleaved(
        lambda: _pipeline(keys, rows),
        lambda: _refresh(application.directory, len(keys)),
        bench.options.repeats,
        bench.tick,
    )
    return ratio_figure(pairs, "rows/s", {"rows": len(rows), "row_bytes": len(rows[0])})


def _rows(raw: RawStore, keys: list[bytes]) -> list[bytes]:
    rows: list[bytes] = []
    for start in range(0, len(keys), _CHUNK):
        rows += raw.execute("MGET", *keys[start : start + _CHUNK])
    return rows


def _pipeline(keys: list[bytes], rows: list[bytes]) -> Sample:
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        start_s = time.perf_counter()
        raw.set_many(keys, rows)
        return Sample(len(keys) / (time.perf_counter() - start_s))


def _refresh(directory: Path, entities: int) -> Sample:
    with TemporaryStore() as store:
        run(forebay(store, directory, "apply", str(directory / "application.yaml")), directory)
        start_s = time.perf_counter()
        run(forebay(store, directory, "refresh", "run", _VIEW, "--app", APP), directory)
        process_s = time.perf_counter() - start_s
        (batch,) = run_json(forebay(store, directory, "batches", "--json", "--app", APP), directory)
    if batch["row_count"] != entities or batch["status"] != "done":
        raise MeasurementFailed(f"the refresh wrote {batch['row_count']} rows and is {batch['status']}")
    seconds = (batch["finished_at_us"] - batch["started_at_us"]) / 1e6
    return Sample(entities / seconds, {"process_s": process_s, "job_s": seconds})
