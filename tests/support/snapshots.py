"""Small snapshots for tests, built and published on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ann_index.snapshot import Manifest, SnapshotSpec, build_snapshot
from ann_index.types import Metric
from registry.dtypes import Scalar
from runtime.clock import ManualClock
from runtime.engine_settings import AnnIndexSettings
from tests.support.vectors import clustered

QUICK = AnnIndexSettings(sample_queries=50, latency_searches=10)
VECTORS = clustered(300, 8)
INTEGERS = (np.random.default_rng(3).permutation(300) * 10).tolist()
STRINGS = [f"m:{number}" for number in INTEGERS]


def spec(
    version: str = "1", metric: Metric = Metric.L2, key_dtype: Scalar = Scalar.INT64, factory: str = ""
) -> SnapshotSpec:
    """Return what to build, with names made up."""
    return SnapshotSpec(
        version,
        metric,
        "movie",
        "movie_id",
        key_dtype,
        space="taste",
        batch="b1",
        source="s",
        factory=factory,
    )


def publish(directory: Path, wanted: SnapshotSpec) -> Manifest:
    """Build the 300 rows as `wanted` into `directory`."""
    keys = STRINGS if wanted.key_dtype is Scalar.STRING else INTEGERS
    return build_snapshot(directory, wanted, keys, VECTORS, clock=ManualClock(), settings=QUICK)
