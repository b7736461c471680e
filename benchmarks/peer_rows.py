"""Predict, measured against the hand-written service (`peers/handwritten`): the same data, index and model,
the same work, both loaded in turns by clients that do nothing else.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forebay
import numpy as np
import pyarrow.parquet as pq

from ann_index.search_plan import hnsw_effort
from ann_index.snapshot import Manifest, index_directory, list_versions, read_manifest
from benchmarks.bench import Bench, Load, MeasurementFailed, Target
from benchmarks.load import write_requests
from benchmarks.pairs import Figure, Pair, Sample, interleaved, ratio_figure
from benchmarks.predict_rows import cpu_facts, predict_load
from benchmarks.processes import ROOT, Server, run
from benchmarks.workload import APP, INDEX, PIPELINE, PIPELINE_100
from runtime.embedded_store import TemporaryStore

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
CONCURRENCY = 32
_PATH = "/rank"
_KEYS = (1, 42, 1_000)


def rate_vs_handwritten(bench: Bench) -> Figure:
    """Predict's throughput at concurrency 32 over the hand-written service's."""
    return _figure(bench.once(_of_neighbours), "rate_per_s", "/s")


def p99_vs_handwritten(bench: Bench) -> Figure:
    """Predict's p99 at concurrency 32 over the hand-written service's."""
    return _figure(bench.once(_of_neighbours), "p99_us", "us")


def rate_of_100_vs_handwritten(bench: Bench) -> Figure:
    """Predict's throughput at concurrency 32 over the hand-written service's, both with 100 candidates."""
    return _figure(_pairs(bench, PIPELINE_100, 100), "rate_per_s", "/s")


def _of_neighbours(bench: Bench) -> list[Pair]:
    return _pairs(bench, PIPELINE, bench.workload.neighbours)


def _figure(pairs: list[Pair], measure: str, unit: str) -> Figure:
    """Return the figure of one measure out of pairs of whole reports."""
    chosen = [
        Pair(*[Sample(sample.facts[measure], sample.facts) for sample in (pair.floor, pair.ours)])
        for pair in pairs
    ]
    return ratio_figure(chosen, unit, {"concurrency": CONCURRENCY, **cpu_facts(chosen)})


def _pairs(bench: Bench, pipeline: str, candidates: int) -> list[Pair]:
    load = predict_load(bench, bench.gateway, pipeline, candidates)
    file = bench.work / "handwritten.requests"
    write_requests(file, [_body(key) for key in bench.workload.keys.tolist()])
    with _served(bench, candidates) as peer:
        _compare(bench, pipeline, peer)
        return interleaved(
            lambda: Sample(0.0, bench.http_load(peer, Load(_PATH, file), CONCURRENCY)),
            lambda: Sample(0.0, bench.load(bench.gateway, load, CONCURRENCY)),
            bench.options.repeats,
            bench.tick,
        )


@contextmanager
def _served(bench: Bench, candidates: int) -> Iterator[Target]:
    """Run the service on the published index and model, and rows of its own."""
    application = bench.prepared
    store, data = bench.once(_filled)
    directory = index_directory(application.artifacts, APP, INDEX)
    version = directory / list_versions(directory)[-1]
    manifest = read_manifest(version)
    command = [str(PYTHON), "-m", "benchmarks.peers.handwritten.service", "--socket", str(store.socket)]
    command += ["--index", str(version / "index.faiss"), "--keys", str(data / "keys.npy")]
    command += ["--model", str(application.model), "--candidates", str(candidates)]
    command += ["--effort", str(_effort(manifest, candidates))]
    with Server(command, ROOT, bench.work / "handwritten.log") as server:
        yield Target(server.line.split()[1], (server.pid, store.pid))


def _effort(manifest: Manifest, candidates: int) -> int:
    """Return how hard the gateway searches for so many candidates, 0 for a scan: a search that looks less
    hard finds other items, in less time.

    Raises: MeasurementFailed for an index of lists, which the service isn't made for.
    """
    if manifest.factory.startswith("IVF"):
        raise MeasurementFailed(f"the hand-written service searches no {manifest.factory}")
    if manifest.factory == "Flat":
        return 0
    return hnsw_effort(manifest.effort, candidates, 0, manifest.count) or 0


def _filled(bench: Bench) -> tuple[TemporaryStore, Path]:
    """Return a store with the service's rows, and the directory with the arrays that they were made from."""
    if not PYTHON.exists():
        raise MeasurementFailed("the peers' environment is missing: `make peers` creates it")
    bench.say("the hand-written service's rows")
    data = bench.work / "handwritten"
    data.mkdir(exist_ok=True)
    np.save(data / "keys.npy", bench.workload.keys)
    for view in ("static", "stream"):
        table = pq.read_table(bench.prepared.directory / f"{view}.parquet").drop_columns(["item_id"])
        np.save(data / f"{view}.npy", np.column_stack([column.to_numpy() for column in table.columns]))
    column = pq.read_table(bench.prepared.directory / "vectors.parquet").column("embedding")
    vectors = column.combine_chunks().flatten().to_numpy().reshape(-1, bench.workload.dimension)
    np.save(data / "vector.npy", vectors)
    store = bench.stay(TemporaryStore())
    fill = [str(PYTHON), "-m", "benchmarks.peers.handwritten.fill", "--socket", str(store.socket)]
    run([*fill, "--data", str(data)], ROOT)
    return store, data


def _compare(bench: Bench, pipeline: str, peer: Target) -> None:
    """Raise MeasurementFailed unless both give the same items the same scores, in the same order."""
    with forebay.Client(bench.gateway.address) as client:
        for key in _KEYS:
            answer = client.predict(pipeline, item_id=key)
            ours = [(item.entity["item_id"], item.scores["score"]) for item in answer]
            call = urllib.request.Request(f"http://{peer.address}{_PATH}", _body(key))
            call.add_header("content-type", "application/json")
            with urllib.request.urlopen(call, timeout=5) as response:
                theirs = json.load(response)
            if [item for item, _ in ours] != theirs["items"]:
                raise MeasurementFailed(f"the hand-written service ranks other items for {key}")
            if not np.allclose([score for _, score in ours], theirs["scores"], rtol=1e-4, atol=1e-5):
                raise MeasurementFailed(f"the hand-written service scores otherwise for {key}")


def _body(key: int) -> bytes:
    return json.dumps({"item_id": key}).encode()
