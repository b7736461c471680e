"""Builds a snapshot: checks and sorts the rows, builds the index, tunes and measures it, writes it. Whether
it may be published is asked of the manifest (`shortfalls`); publishing is a new release, made elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from ann_index.entity_keys import Keys, sorted_keys
from ann_index.faiss_build import Factory, Progress, build_faiss, ignore_progress
from ann_index.faiss_index import FaissIndex
from ann_index.manifest import GOLDEN_FILE, FileFacts, LatencyFacts, Manifest, RecallFacts
from ann_index.queries import MAX_COMPONENT, normalised
from ann_index.recall import Recall
from ann_index.search_plan import TUNED_K
from ann_index.snapshot_write import refuse_existing, write_snapshot
from ann_index.tuning import Latency, measure_latency, query_sets, tune
from ann_index.types import Metric
from registry.dtypes import MAX_LIST_LENGTH, Scalar
from runtime.clock import Clock
from runtime.engine_settings import AnnIndexSettings

GOLDEN_QUERIES = 16
CHECK_ROWS = 65_536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class SnapshotSpec:
    """What is built, and where it comes from. `factory` empty: chosen by the number of rows."""

    version: str
    metric: Metric
    entity: str
    key_field: str
    key_dtype: Scalar
    space: str = ""
    batch: str = ""
    source: str = ""
    factory: str = ""


def index_directory(artifacts: Path, app: str, index: str) -> Path:
    """Return the directory that holds an index's versions."""
    return artifacts / app / "indexes" / index


def list_versions(directory: Path) -> list[str]:
    """Return the versions in an index's directory, by name; none where there is no directory."""
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def build_snapshot(
    directory: Path,
    spec: SnapshotSpec,
    keys: Keys,
    vectors: NDArray[np.floating] | Sequence[NDArray[np.floating]],
    *,
    clock: Clock,
    settings: AnnIndexSettings | None = None,
    target_recall: float | None = None,
    sample_queries: NDArray[np.float32] | None = None,
    progress: Progress = ignore_progress,
) -> Manifest:
    """Return the manifest of the snapshot that is now in `<directory>/<spec.version>`, not published.

    The search is tuned to `target_recall` (else the setting's), with `sample_queries` where given, completed
    by noisy rows. With one build thread the same input gives the same index.

    Shapes: keys (n,), vectors (n, d), any order; sample_queries (m, d).
    Raises: InvalidRequest naming `keys`, `vectors`, `sample_queries`, `factory` or `version`; Conflict where
    the version exists; NotUsable where the disk is full.
    Cost: blocks for minutes on a million rows; memory about three times the vectors. `progress` is called
    with the stages check, train, index, tune, measure, write; what it raises ends the build.
    """
    chosen = settings or AnnIndexSettings()
    if not _NAME.fullmatch(spec.version):
        raise InvalidRequest("a version is letters, digits, dots, dashes and underscores", field="version")
    refuse_existing(directory, spec.version)
    progress("check", 0, 1)
    rows = _matrix(vectors)
    if len(keys) != len(rows):
        raise InvalidRequest(f"there are {len(keys):,} keys for {len(rows):,} vectors", field="keys")
    entity_keys, order = sorted_keys(keys, spec.key_dtype)
    rows = _usable(rows[order], spec.metric)
    factory = Factory.parse(spec.factory) if spec.factory else Factory.choose(len(rows), chosen)
    queries = query_sets(rows, spec.metric, _given_queries(sample_queries, rows), chosen.sample_queries)
    progress("check", 1, 1)

    built = FaissIndex(build_faiss(rows, spec.metric, factory, chosen, progress), spec.metric)
    target = target_recall or chosen.target_recall
    index, effort, recall = tune(built, rows, factory, queries, target, chosen, progress)
    latency = measure_latency(index, queries.measuring, chosen.latency_searches, clock, progress)

    golden = queries.measuring[:GOLDEN_QUERIES]
    answers = index.search(golden, min(TUNED_K, index.count)).positions
    facts = _Facts(
        directory.name,
        clock.now_us(),
        spec,
        factory,
        index,
        effort,
        recall,
        latency,
        answers,
        factory.parameters(chosen),
    )
    arrays: Mapping[str, NDArray[Any]] = {GOLDEN_FILE: golden, **entity_keys.files()}
    progress("write", 0, 1)
    manifest = write_snapshot(directory, spec.version, index.faiss, arrays, facts.manifest)
    progress("write", 1, 1)
    return manifest


@dataclass(frozen=True, slots=True)
class _Facts:
    """All that the manifest says but the files' hashes."""

    name: str
    created_at_us: int
    spec: SnapshotSpec
    factory: Factory
    index: FaissIndex
    effort: int
    recall: Recall
    latency: Latency
    golden: NDArray[np.int64]
    built_with: Mapping[str, int]

    def manifest(self, files: Mapping[str, FileFacts]) -> Manifest:
        spec, recall, latency = self.spec, self.recall, self.latency
        return Manifest(
            format_version=1,
            index=self.name,
            version=spec.version,
            created_at_us=self.created_at_us,
            count=self.index.count,
            dimension=self.index.dimension,
            dtype="float32",
            metric=spec.metric,
            entity=spec.entity,
            key_field=spec.key_field,
            key_dtype=spec.key_dtype,
            space=spec.space,
            factory=self.factory.text,
            parameters={"effort": self.effort, **self.built_with},
            recall=RecallFacts(value=recall.value, bound=recall.bound, queries=recall.queries, k=recall.k),
            latency=LatencyFacts(p50_us=latency.p50_us, p99_us=latency.p99_us, searches=latency.searches),
            batch=spec.batch,
            source=spec.source,
            files=files,
            golden=tuple(tuple(row) for row in self.golden.tolist()),
        )


def _matrix(vectors: NDArray[np.floating] | Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """Return the vectors as one matrix of floats. Raises: InvalidRequest naming `vectors`."""
    if len(vectors) == 0:
        raise InvalidRequest("there are no vectors to index", field="vectors")
    if not isinstance(vectors, np.ndarray):
        lengths = sorted({len(vector) for vector in vectors})
        if len(lengths) > 1:
            raise InvalidRequest(
                f"vectors have different dimensions: {', '.join(map(str, lengths[:5]))}", field="vectors"
            )
        vectors = np.stack([np.asarray(vector) for vector in vectors])
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise InvalidRequest("vectors are a matrix of floats, one row per key", field="vectors")
    if not 1 <= vectors.shape[1] <= MAX_LIST_LENGTH:
        raise InvalidRequest(f"a vector has 1 to {MAX_LIST_LENGTH:,} components", field="vectors")
    return vectors


def _usable(rows: NDArray[np.floating], metric: Metric) -> NDArray[np.float32]:
    """Return the rows as the index stores them. Raises: InvalidRequest naming `vectors`."""
    bad = 0
    for start in range(0, len(rows), CHECK_ROWS):
        bad += int((~(np.abs(rows[start : start + CHECK_ROWS]) <= MAX_COMPONENT).all(axis=1)).sum())
    if bad:
        raise InvalidRequest(
            f"{bad:,} of {len(rows):,} vectors hold NaN, infinity or a magnitude over {MAX_COMPONENT:g}",
            field="vectors",
        )
    rows32 = np.ascontiguousarray(rows, np.float32)
    if metric is not Metric.COSINE:
        return rows32
    units, zeros = normalised(rows32)
    if zeros.size:
        raise InvalidRequest(
            f"{zeros.size:,} of {len(rows):,} vectors are zero and have no direction, which cosine needs",
            field="vectors",
        )
    return units


def _given_queries(
    queries: NDArray[np.float32] | None, rows: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    if queries is None:
        return None
    if queries.ndim != 2 or queries.shape[1] != rows.shape[1]:
        raise InvalidRequest("sample queries have the dimension of the vectors", field="sample_queries")
    finite = queries[(np.abs(queries) <= MAX_COMPONENT).all(axis=1)]
    return np.ascontiguousarray(finite, np.float32)
