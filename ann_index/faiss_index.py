"""A FAISS index behind the `VectorIndex` protocol: flat, HNSW or IVF, at sequential positions. How it is
built is in faiss_build.py; how hard a search looks, in search_plan.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from forebay.errors import Corrupt
from numpy.typing import NDArray

from ann_index.exact_index import empty_neighbours
from ann_index.exclusion import AllowedRows, all_but
from ann_index.faiss_library import faiss, faiss_metric, use_one_thread
from ann_index.queries import checked_exclusions, checked_queries
from ann_index.search_plan import hnsw_effort, ivf_effort
from ann_index.types import Metric, Neighbours

BLOCK = 16
"""Queries per FAISS call. From 20 on FAISS goes through BLAS, which rounds otherwise: an answer would depend
on who else is in the batch."""

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class FaissIndex:
    """An index that FAISS built, and `effort`: efSearch for HNSW, nprobe for IVF, unused for flat.

    SearchParameters that hold a selector are made for each call: FAISS may write to them. Those without one
    are only read, and shared.
    A scan returns exactly the specified rows, ties at the end included; a graph or list search sorts what it
    found, and falls back to the scan where it found too few.
    """

    def __init__(self, index: Any, metric: Metric, effort: int = 0) -> None:
        self._index = faiss.downcast_index(index)
        self._kind = _kind_of(self._index)
        if self._index.metric_type != faiss_metric(metric):
            raise Corrupt(f"the index file was built for another metric than {metric.value}")
        self._keep = index  # owns the C++ object that the downcast view points at
        self._metric = metric
        self._effort = effort
        self._shared_parameters: dict[int, Any] = {}
        self._count = int(self._index.ntotal)
        self._dimension = int(self._index.d)
        self._lists = int(self._index.nlist) if self._kind == "ivf" else 0
        self._scanned = faiss.downcast_index(self._index.storage) if self._kind == "hnsw" else self._index
        if self._kind == "ivf":
            self._index.make_direct_map()  # where each row lies in its list, for `vectors`

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def metric(self) -> Metric:
        return self._metric

    @property
    def count(self) -> int:
        return self._count

    @property
    def faiss(self) -> Any:
        """FAISS's own object, to be written to a file; it must not be changed."""
        return self._index

    @property
    def kind(self) -> str:
        """`flat`, `hnsw` or `ivf`."""
        return self._kind

    @property
    def is_exact(self) -> bool:
        """Whether every search scans all rows."""
        return self._kind == "flat"

    def with_effort(self, effort: int) -> FaissIndex:
        """Return the same index, searched with another effort."""
        return FaissIndex(self._keep, self._metric, effort)

    def search(
        self, queries: NDArray[np.float32], k: int, exclude: Sequence[NDArray[np.int64]] | None = None
    ) -> Neighbours:
        targets = checked_queries(queries, self._dimension, self._metric, k)
        use_one_thread()
        if exclude is None and 0 < len(targets) <= BLOCK and k <= self._count:
            return Neighbours(*self._nearest(targets, k, None))
        found = empty_neighbours(len(targets), k)
        if exclude is None:
            for start in range(0, len(targets), BLOCK):
                self._fill(found, slice(start, start + BLOCK), targets[start : start + BLOCK], None)
            return found
        for row, barred in enumerate(checked_exclusions(exclude, len(targets), self._count)):
            allowed = all_but(barred, self._count) if barred.size else None
            self._fill(found, slice(row, row + 1), targets[row : row + 1], allowed)
        return found

    def vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(positions) and (positions.min() < 0 or positions.max() >= self._count):
            raise IndexError(f"a position is not within 0 to {self._count - 1}")
        use_one_thread()
        found: NDArray[np.float32] = self._scanned.reconstruct_batch(np.asarray(positions, np.int64))
        return found

    def _fill(
        self, found: Neighbours, rows: slice, targets: NDArray[np.float32], allowed: AllowedRows | None
    ) -> None:
        available = self._count if allowed is None else allowed.allowed
        width = min(found.positions.shape[1], available)
        if not width:
            return
        positions, scores = self._nearest(targets, width, allowed)
        found.positions[rows, :width] = positions
        found.scores[rows, :width] = scores

    def _nearest(self, targets: NDArray[np.float32], width: int, allowed: AllowedRows | None) -> Found:
        effort = self._planned_effort(width, 0 if allowed is None else allowed.excluded)
        if effort is None:
            return self._scan(targets, width, allowed)
        raw, positions = self._index.search(targets, width, params=self._parameters(effort, allowed))
        scores = self._scores(raw)
        if min(positions[:, -1].tolist()) < 0:
            for row in np.flatnonzero(positions[:, -1] < 0):  # the graph, or the lists read, held too few
                positions[row], scores[row] = self._scan(targets[row : row + 1], width, allowed)
        return _ties_ordered(positions, scores)

    def _planned_effort(self, width: int, excluded: int) -> int | None:
        if self._kind == "hnsw":
            return hnsw_effort(self._effort, width, excluded, self._count)
        if self._kind == "ivf":
            return ivf_effort(self._effort, width, excluded, self._count, self._lists)
        return None

    def _scan(self, targets: NDArray[np.float32], width: int, allowed: AllowedRows | None) -> Found:
        """Return the closest of all allowed rows. One row more than asked for shows whether a tie is cut."""
        available = self._count if allowed is None else allowed.allowed
        more = min(width + 1, available)
        raw, positions = self._scanned.search(targets, more, params=self._scan_parameters(allowed))
        positions, scores = _ties_ordered(positions, self._scores(raw))
        if more > width:
            for row in np.flatnonzero(scores[:, width] == scores[:, width - 1]):
                tied = self._tied(targets[row : row + 1], raw[row, width], allowed)
                positions[row, :width], scores[row, :width] = tied[0][:width], tied[1][:width]
        return positions[:, :width], scores[:, :width]

    def _tied(self, target: NDArray[np.float32], last: np.float32, allowed: AllowedRows | None) -> Found:
        """Return, in order, every allowed row that is as close as `last` (FAISS's distance) or closer."""
        slack = np.abs(last) * np.float32(1e-5) + np.float32(1e-30)
        radius = last + slack if self._metric is Metric.L2 else last - slack
        _, raw, positions = self._scanned.range_search(
            target, float(radius), params=self._scan_parameters(allowed)
        )
        return _ordered(positions, self._scores(raw))

    def _parameters(self, effort: int, allowed: AllowedRows | None) -> Any:
        if allowed is not None:
            return self._new_parameters(effort, allowed.selector())
        shared = self._shared_parameters.get(effort)
        if shared is None:
            shared = self._shared_parameters[effort] = self._new_parameters(effort, None)
        return shared

    def _new_parameters(self, effort: int, selector: Any) -> Any:
        if self._kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        return faiss.SearchParametersIVF(nprobe=effort, sel=selector)

    def _scan_parameters(self, allowed: AllowedRows | None) -> Any:
        if self._kind == "ivf":
            return self._parameters(self._lists, allowed)
        return None if allowed is None else faiss.SearchParameters(sel=allowed.selector())

    def _scores(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        return -np.sqrt(np.maximum(raw, 0)) if self._metric is Metric.L2 else raw


def _kind_of(index: Any) -> str:
    kinds = {faiss.IndexFlat: "flat", faiss.IndexHNSWFlat: "hnsw", faiss.IndexIVFFlat: "ivf"}
    for cls, kind in kinds.items():
        if isinstance(index, cls):
            return kind
    raise Corrupt(f"the index file holds a {type(index).__name__}: only flat, HNSW and IVF are served")


def _ties_ordered(positions: NDArray[np.int64], scores: NDArray[np.float32]) -> Found:
    """Return what is closest first already with ties by position, which FAISS leaves to its heap's whim."""
    if (scores[:, 1:] == scores[:, :-1]).any():
        return _ordered(positions, scores)
    return positions, scores


def _ordered(positions: NDArray[np.int64], scores: NDArray[np.float32]) -> Found:
    """Return the rows closest first, ties by position."""
    order = np.lexsort((positions, -scores), axis=-1)
    return np.take_along_axis(positions, order, -1), np.take_along_axis(scores, order, -1)
