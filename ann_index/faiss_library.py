"""The one place that imports FAISS, and its process-wide and thread-wide state: limits of deserialisation,
OpenMP threads; and reading a file.
IndexIDMap is used nowhere: it crashes under concurrent searches with a selector, and accepts duplicate ids.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss as _faiss
from forebay.errors import Corrupt

from ann_index.types import Metric

faiss: Any = _faiss
"""FAISS; its own type stubs leave out much of it."""

MAX_VECTOR_BYTES = 1 << 38
"""Largest single array that FAISS may allocate while it reads a file: 256 GiB (its own limit is 1 TB)."""

MAX_LOOPS = 1 << 24
"""Most entries (lists, levels) that a file may make FAISS loop over while it reads."""

_LIMITS = threading.Lock()
_thread = threading.local()


def read_index(path: Path) -> Any:
    """Return the index in a file whose hash was checked before: its arrays mapped where it can be.

    The file must stay as it is for as long as the index lives.
    Raises: Corrupt.
    """
    _limit_deserialisation()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError:
        return _copied(path)


def use_one_thread() -> None:
    """Make FAISS's calls from this thread stay in it. OpenMP's setting is per thread, hence once in each."""
    if not getattr(_thread, "is_set", False):
        faiss.omp_set_num_threads(1)
        _thread.is_set = True


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let FAISS's calls from this thread use `count` threads inside, and one afterwards."""
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1)
        _thread.is_set = True


def faiss_metric(metric: Metric) -> int:
    """Return FAISS's number for the metric; cosine is the inner product of normalised vectors."""
    return int(faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT)


def _copied(path: Path) -> Any:
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise Corrupt(f"FAISS can't read the index file {path.name}") from error


def _limit_deserialisation() -> None:
    """Set the limits, which are global and not safe to set while another thread reads, if they aren't set."""
    with _LIMITS:
        if faiss.get_deserialization_vector_byte_limit() != MAX_VECTOR_BYTES:
            faiss.set_deserialization_vector_byte_limit(MAX_VECTOR_BYTES)
            faiss.set_deserialization_loop_limit(MAX_LOOPS)
