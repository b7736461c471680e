"""Bytes that an entity's two views take in the store, with keys and all else that a refresh leaves."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from benchmarks.bench import Bench
from benchmarks.pairs import Figure
from benchmarks.prepared import forebay
from benchmarks.processes import run
from benchmarks.raw_store import RawStore
from benchmarks.workload import APP, write_application
from runtime.embedded_store import TemporaryStore, server_programs

_ENTITIES = 10_000
_VIEWS = ("static", "stream")
_SETTLE_S = 0.3


def bytes_per_entity(bench: Bench) -> Figure:
    """Return the bytes on the server that takes the most, of those that are installed.

    A view of ten rows is refreshed first: what a server sets aside once, for its first client and its first
    script, belongs to no entity.
    """
    directory = bench.work / "memory"
    shutil.rmtree(directory, ignore_errors=True)
    file = write_application(directory, replace(bench.workload, entities=_ENTITIES, clusters=100))
    vectors = directory / "vectors.parquet"
    pq.write_table(pq.read_table(vectors).slice(0, 10), vectors)
    facts: dict[str, Any] = {}
    for program in server_programs().values():
        with TemporaryStore(program) as store, RawStore(store.socket) as raw:
            bench.say(store.version)
            refresh = forebay(store, directory, "refresh", "run", "--app", APP)
            run(forebay(store, directory, "apply", str(file)), directory)
            run([*refresh, "vector"], directory)
            before = _settled_bytes(raw)
            run([*refresh, *_VIEWS], directory)
            used = (_settled_bytes(raw) - before) / _ENTITIES
            facts[store.version] = {"bytes_per_entity": used, "row_bytes": _row_bytes(raw)}
    worst = max(fact["bytes_per_entity"] for fact in facts.values())
    return Figure(worst, "bytes", worst, facts=facts)


def _settled_bytes(raw: RawStore) -> int:
    """Return the memory in use once it no longer changes: tables that grow are moved in the background."""
    before = -1
    while (now := raw.used_memory_bytes()) != before:
        before = now
        time.sleep(_SETTLE_S)
    return now


def _row_bytes(raw: RawStore) -> list[int]:
    """Return what the server says that single rows take, key and all: the sizes that occur."""
    keys = [key for key in raw.keys("*") if not key.startswith(b"forebay:")]
    return sorted({raw.execute("MEMORY", "USAGE", key) for key in keys[:: len(keys) // 50]})
