"""The reference index against the suite."""

import numpy as np
from numpy.typing import NDArray

from ann_index.exact_index import ExactIndex
from ann_index.index import VectorIndex
from ann_index.types import Metric
from tests.conformance.ann_index.vector_index import VectorIndexSuite


class TestExactIndex(VectorIndexSuite):
    @classmethod
    def build(cls, vectors: NDArray[np.float32], metric: Metric) -> VectorIndex:
        return ExactIndex(vectors, metric)
