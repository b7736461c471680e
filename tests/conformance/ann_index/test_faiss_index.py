"""FAISS against the suite: flat, graph and lists."""

import numpy as np
from numpy.typing import NDArray

from ann_index.faiss_build import Factory, build_faiss
from ann_index.faiss_index import FaissIndex
from ann_index.index import VectorIndex
from ann_index.queries import normalised
from ann_index.types import Metric
from runtime.engine_settings import AnnIndexSettings
from tests.conformance.ann_index.vector_index import VectorIndexSuite


def build(factory: str, vectors: NDArray[np.float32], metric: Metric, effort: int) -> FaissIndex:
    rows = normalised(vectors)[0] if metric is Metric.COSINE else vectors
    built = build_faiss(rows, metric, Factory.parse(factory), AnnIndexSettings(build_threads=2))
    return FaissIndex(built, metric, effort)


class TestFlat(VectorIndexSuite):
    @classmethod
    def build(cls, vectors: NDArray[np.float32], metric: Metric) -> VectorIndex:
        return build("Flat", vectors, metric, 0)


class TestGraph(VectorIndexSuite):
    """So many rows, and so little effort, that searches walk the graph; with 400 excluded they scan."""

    recall = 0.95
    count = 12_000

    @classmethod
    def build(cls, vectors: NDArray[np.float32], metric: Metric) -> VectorIndex:
        return build("HNSW32", vectors, metric, 48)


class TestLists(VectorIndexSuite):
    recall = 0.95
    count = 12_000

    @classmethod
    def build(cls, vectors: NDArray[np.float32], metric: Metric) -> VectorIndex:
        lists = min(100, len(vectors) // 4)
        return build(f"IVF{lists},Flat", vectors, metric, min(16, lists))
