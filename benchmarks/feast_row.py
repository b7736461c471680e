"""ReadFeatures measured against Feast's Python feature server (`peers/feast`): the same values, the same
entities asked for, two processes each, both on a store of the same program."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.bench import Bench, Load, MeasurementFailed, Target
from benchmarks.load import write_requests
from benchmarks.pairs import Figure, Sample, interleaved, ratio_figure
from benchmarks.processes import ROOT, Server, run
from benchmarks.read_rows import READ_FEATURES, check_read, read_messages
from runtime.embedded_store import TemporaryStore

PYTHON = ROOT / ".venv-feast" / "bin" / "python"
_ENTITIES = 100
_STORED = 10_000
"""How many entities Feast holds, and both are asked for: it takes some ten seconds to write them."""

_REQUESTS = 1_000
_PROCESSES = 2
_CALLERS = 8
"""What Feast answers the most per second with: beyond, it queues."""

_WARM_UP_S = 5.0
_LEAST_S = 4.0
"""Of Feast's part of a pair: it answers some thirty calls a second."""

_PATH = "/get-online-features"
_SERVICE = "all_features"
_VIEWS = ("static", "stream")


def rate_vs_feast(bench: Bench) -> Figure:
    """ReadFeatures' calls per second, of 100 entities x 60 features, over Feast's."""
    if not PYTHON.exists():
        raise MeasurementFailed("Feast's environment is missing: `make feast-peer` creates it")
    stored = min(_STORED, bench.workload.entities)
    places = np.random.default_rng(7).integers(stored, size=(_REQUESTS, _ENTITIES))
    keys = bench.workload.keys[places]
    seconds = max(bench.options.seconds, _LEAST_S)
    with _served(bench) as peer, bench.serving(processes=_PROCESSES) as gateway:
        _check(bench, peer, keys[0].tolist())
        check_read(bench, gateway, keys[0].tolist())
        ours = bench.requests("read-feast", READ_FEATURES, read_messages(bench.workload, places), gateway)
        file = bench.work / "feast.requests"
        write_requests(file, [_body(row) for row in keys.tolist()])
        theirs = Load(_PATH, file)
        bench.http_load(peer, theirs, _CALLERS, _WARM_UP_S)
        pairs = interleaved(
            lambda: _rate(bench.http_load(peer, theirs, _CALLERS, seconds)),
            lambda: _rate(bench.load(gateway, ours, _CALLERS, connections=_CALLERS)),
            bench.options.repeats,
            bench.tick,
        )
    return ratio_figure(pairs, "/s", {"callers": _CALLERS, "processes": _PROCESSES, "entities": _ENTITIES})


def _rate(report: dict[str, Any]) -> Sample:
    return Sample(report["rate_per_s"], report)


@contextmanager
def _served(bench: Bench) -> Iterator[Target]:
    """Run Feast on rows of its own."""
    repository = bench.work / "feast"
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir()
    with TemporaryStore() as store:
        bench.say("Feast's rows")
        fill = [str(PYTHON), "-m", "benchmarks.peers.feast.fill", "--socket", str(store.socket)]
        fill += ["--data", str(bench.prepared.directory), "--repository", str(repository)]
        run([*fill, "--rows", str(_STORED)], ROOT, _QUIET)
        bench.say("feast serve")
        serve = [str(PYTHON), "-m", "benchmarks.peers.feast.serve", "--repository", str(repository)]
        serve += ["--workers", str(_PROCESSES)]
        with Server(serve, ROOT, bench.work / "feast.log", _QUIET) as server:
            yield Target(server.line.split()[1], (*server.pids, store.pid))


_QUIET = {"FEAST_USAGE": "False"}
"""Feast is asked not to report its use to anybody."""


def _check(bench: Bench, peer: Target, keys: list[int]) -> None:
    """Raise MeasurementFailed unless Feast answers with every value as it is in the data."""
    request = urllib.request.Request(f"http://{peer.address}{_PATH}", _body(keys))
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    found = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
    rows = np.array(keys) - bench.workload.keys[0]
    for view in _VIEWS:
        table = pq.read_table(bench.prepared.directory / f"{view}.parquet").drop_columns(["item_id"])
        for name in table.column_names:
            column = found[name]
            wanted = table.column(name).to_numpy()[rows]
            if set(column["statuses"]) != {"PRESENT"} or not np.allclose(column["values"], wanted, rtol=1e-5):
                raise MeasurementFailed(f"Feast answers with other values of {view}.{name}")


def _body(keys: list[int]) -> bytes:
    return json.dumps({"feature_service": _SERVICE, "entities": {"item_id": keys}}).encode()
