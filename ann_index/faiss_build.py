"""Builds a FAISS index: which one by the number of rows, then row by row in a fixed order, so that the same
input gives the same index. How hard it must be searched is found in tuning.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from ann_index.faiss_library import faiss, faiss_metric, threads
from ann_index.types import Metric
from runtime.engine_settings import AnnIndexSettings

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""

SEED = 20_261_122
MIN_CHUNK_ROWS = 4_096
_FACTORY = re.compile(r"Flat|HNSW(\d{1,2})|IVF(\d{1,7}),Flat")


def ignore_progress(stage: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Factory:
    """A kind of index and its size, as FAISS writes them: `Flat`, `HNSW32`, `IVF4096,Flat`."""

    text: str
    links: int = 0
    lists: int = 0

    @classmethod
    def parse(cls, text: str) -> Factory:
        """Return the factory that `text` names. Raises: InvalidRequest naming `factory`."""
        match = _FACTORY.fullmatch(text)
        if match is None:
            raise InvalidRequest("a factory is Flat, HNSW<links> or IVF<lists>,Flat", field="factory")
        factory = cls(text, links=int(match[1] or 0), lists=int(match[2] or 0))
        if match[1] and not 4 <= factory.links <= 64:
            raise InvalidRequest("HNSW takes 4 to 64 links", field="factory")
        if match[2] and not factory.lists:
            raise InvalidRequest("IVF takes one list or more", field="factory")
        return factory

    def parameters(self, settings: AnnIndexSettings) -> dict[str, int]:
        """Return what the text leaves out and the settings decide."""
        return {"build_effort": settings.hnsw_build_effort} if self.links else {}

    @classmethod
    def choose(cls, count: int, settings: AnnIndexSettings) -> Factory:
        """Return the factory for so many rows.

        Source: FAISS wiki, Guidelines to choose an index; 4 sqrt(n) lists.
        """
        if count <= settings.flat_max_rows:
            return cls("Flat")
        if count <= settings.hnsw_max_rows:
            return cls(f"HNSW{settings.hnsw_links}", links=settings.hnsw_links)
        lists = math.isqrt(16 * count)
        return cls(f"IVF{lists},Flat", lists=lists)


def build_faiss(
    vectors: NDArray[np.float32],
    metric: Metric,
    factory: Factory,
    settings: AnnIndexSettings,
    progress: Progress = ignore_progress,
) -> Any:
    """Return the FAISS index of the vectors, row i at position i.

    Shapes: vectors (n, d) float32, for cosine normalised.
    Raises: InvalidRequest naming `factory` where there are fewer rows than lists.
    Cost: Flat a copy; HNSW 10 to 20 s per 100,000 rows and thread; IVF about a tenth of that.
    """
    if factory.lists > len(vectors):
        raise InvalidRequest(f"{factory.text} needs at least as many rows as lists", field="factory")
    with threads(settings.build_threads):
        index = _empty(vectors.shape[1], metric, factory, settings)
        if factory.lists:
            progress("train", 0, factory.lists)
            index.train(vectors)
            progress("train", factory.lists, factory.lists)
        chunk = max(MIN_CHUNK_ROWS, len(vectors) // 64)
        for start in range(0, len(vectors), chunk):
            progress("index", start, len(vectors))
            index.add(vectors[start : start + chunk])
        progress("index", len(vectors), len(vectors))
    return index


def _empty(dimension: int, metric: Metric, factory: Factory, settings: AnnIndexSettings) -> Any:
    number = faiss_metric(metric)
    if factory.links:
        index = faiss.IndexHNSWFlat(dimension, factory.links, number)
        index.hnsw.efConstruction = settings.hnsw_build_effort
        return index
    if factory.lists:
        index = faiss.IndexIVFFlat(faiss.IndexFlat(dimension, number), dimension, factory.lists, number)
        index.cp.seed = SEED
        index.cp.min_points_per_centroid = 1  # else FAISS prints a warning for small sets
        return index
    return faiss.IndexFlat(dimension, number)
