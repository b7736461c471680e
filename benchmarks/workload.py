"""The synthetic workload: which entities, features, vectors and model there are, and the application that
holds them, written as a user would write it: a YAML file, Parquet files, an ONNX model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from benchmarks.models import write_ranker, write_slow_ranker

APP = "bench"
INDEX = "items"
PIPELINE = "rank"
PIPELINE_10 = "rank_10"
PIPELINE_100 = "rank_100"
SLOW_PIPELINE = "rank_slowly"
CACHED_PIPELINE = "rank_cached"
PATIENT_PIPELINE = "rank_without_store"
MODEL = "ranker"
SLOW_MODEL = "slow_ranker"
SLOW_BUDGET_MS = 100
_AGE = "3650d"  # looked at with every read, and never reached, however old the prepared store is


@dataclass(frozen=True, slots=True)
class Workload:
    """What is generated; the same values give the same data.

    `spread`: how far vectors lie from their cluster's centre, where the centres have a spread of 1.
    """

    entities: int = 100_000
    static_columns: int = 50
    stream_columns: int = 10
    dimension: int = 64
    clusters: int = 1_000
    spread: float = 0.3
    neighbours: int = 11
    hidden: tuple[int, int] = (64, 32)
    recall_at_10: float = 0.95
    seed: int = 20_261_122

    @property
    def keys(self) -> NDArray[np.int64]:
        """Every entity's key, (entities,) int64."""
        return np.arange(1, self.entities + 1, dtype=np.int64)

    @property
    def static_features(self) -> list[str]:
        return [f"s{number:02d}" for number in range(self.static_columns)]

    @property
    def stream_features(self) -> list[str]:
        return [f"t{number:02d}" for number in range(self.stream_columns)]

    @property
    def references(self) -> list[str]:
        """Every scalar feature as "view.feature", in the order of the model's columns."""
        static = [f"static.{name}" for name in self.static_features]
        return static + [f"stream.{name}" for name in self.stream_features]


def write_application(directory: Path, workload: Workload) -> Path:
    """Write the application into `directory`; return its file. Cost: seconds, 60 MB for 100,000 entities."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(workload.seed)
    _write_scalars(directory / "static.parquet", workload.keys, workload.static_features, rng)
    _write_scalars(directory / "stream.parquet", workload.keys, workload.stream_features, rng)
    _write_vectors(directory / "vectors.parquet", workload, rng)
    columns = len(workload.references)
    write_ranker(directory / "models" / MODEL / "1" / "model.onnx", columns, workload.hidden, rng)
    write_slow_ranker(directory / "models" / SLOW_MODEL / "1" / "model.onnx", columns)
    file = directory / "application.yaml"
    file.write_text(yaml.safe_dump(definition(workload), sort_keys=False))
    return file


def definition(workload: Workload) -> dict[str, Any]:
    """Return the application file's content."""
    embedding = {"embedding": f"float32[{workload.dimension}]"}
    return {
        "app": APP,
        "entities": {"item": {"key": {"item_id": "int64"}}},
        "sources": {
            "static": {"parquet": "static.parquet"},
            "stream": {"parquet": "stream.parquet"},
            "vectors": {"parquet": "vectors.parquet"},
        },
        "views": {
            "static": _view("static", "swap", dict.fromkeys(workload.static_features, "float32")),
            "stream": _view("stream", "upsert", dict.fromkeys(workload.stream_features, "float32")),
            "vector": _view("vectors", "swap", embedding),
        },
        "indexes": {
            INDEX: {
                "entity": "item",
                "vector": "vector.embedding",
                "metric": "l2",  # so that an entity is its own nearest neighbour
                "publish_if": {"recall_at_10": workload.recall_at_10},
            }
        },
        "models": {
            name: {
                "repository": "models",
                "inputs": {"x": workload.references},
                "outputs": {"score": "score"},
                "traffic": {"champion": 1},
            }
            for name in (MODEL, SLOW_MODEL)
        },
        "pipelines": {
            PIPELINE: _pipeline(workload.neighbours),
            PIPELINE_10: _pipeline(10),
            PIPELINE_100: _pipeline(100),
            SLOW_PIPELINE: _pipeline(workload.neighbours)
            | {
                "predict": SLOW_MODEL,
                "budget": {"total": f"{SLOW_BUDGET_MS}ms"},
            },
            CACHED_PIPELINE: _pipeline(workload.neighbours) | {"cache": {"fresh": "10m"}},
            PATIENT_PIPELINE: _pipeline(workload.neighbours) | _PATIENT,
        },
    }


def _pipeline(neighbours: int) -> dict[str, Any]:
    return {
        "entities": ["item"],
        "hydrate": ["vector"],
        "retrieve": {"index": INDEX, "query": "vector.embedding", "k": neighbours},
        "hydrate_candidates": ["static", "stream"],
        "predict": MODEL,
        "select": {"top": neighbours, "by": "score"},
        "budget": {"total": "1s"},
    }


_PATIENT = {
    "budget": {"total": "100ms", "hydrate": "20ms", "hydrate_candidates": "20ms"},
    "degrade": {
        "hydrate": {"vector": "defaults"},
        "retrieve": {"candidates": {"sql": "select item_id from static order by item_id limit 11"}},
        "hydrate_candidates": {"static": "defaults", "stream": "defaults"},
    },
}


def _view(source: str, publish: str, features: Mapping[str, str]) -> dict[str, Any]:
    batch = {"source": source, "publish": publish}
    return {"entity": "item", "batch": batch, "max_age": _AGE, "features": dict(features)}


def _write_scalars(path: Path, keys: NDArray[np.int64], names: list[str], rng: np.random.Generator) -> None:
    values = rng.standard_normal((len(names), len(keys)), np.float32)
    _write(path, {"item_id": pa.array(keys)} | dict(zip(names, map(pa.array, values), strict=True)))


def _write_vectors(path: Path, workload: Workload, rng: np.random.Generator) -> None:
    shape = (workload.entities, workload.dimension)
    centres = rng.standard_normal((workload.clusters, workload.dimension), np.float32)
    vectors = centres[rng.integers(workload.clusters, size=workload.entities)]
    vectors += workload.spread * rng.standard_normal(shape, np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), workload.dimension)
    _write(path, {"item_id": pa.array(workload.keys), "embedding": lists})


def _write(path: Path, columns: Mapping[str, Any]) -> None:
    pq.write_table(pa.table(dict(columns)), path, compression="zstd")
