"""What a release does once before it is in service: every search and every model runs, so that the first
request finds them warm, and with an estimate of what they take. Blocking; `live.py` calls it in a thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import numpy as np
from forebay.errors import Error

from gateway.plan import CompiledPipeline, CompiledRelease
from runtime.clock import SystemClock
from runtime.offload import Estimate

logger = logging.getLogger(__name__)

_RUNS: Final = 3
"""The first pays for what is set up at first use; the later ones say what the work takes."""
_ROWS: Final = 16


def warm(release: CompiledRelease) -> None:
    """Search every pipeline's indexes and run its model on made-up input.

    Without an estimate a pipeline's first search and first run would each go to a thread, however short. What
    fails on made-up input may do well on real input, and is left alone. Cost: three searches and runs per
    pipeline.
    """
    for pipeline in release.pipelines.values():
        try:
            _search(pipeline)
            _run(pipeline)
        except Error as error:
            logger.info("pipeline %s stays cold: %s", pipeline.name, error.message)


def _search(pipeline: CompiledPipeline) -> None:
    step = pipeline.retrieve
    if step is None:
        return
    vectors = [
        np.zeros((1, search.snapshot.index.dimension), np.float32)  # (1, dimension) float32
        for search in step.searches
    ]

    def search_all() -> None:
        for search, vector in zip(step.searches, vectors, strict=True):
            search.snapshot.index.search(vector, search.k)

    if all(search.snapshot.index.count for search in step.searches):
        _learn(step.estimate, 1, search_all)


def _run(pipeline: CompiledPipeline) -> None:
    step = pipeline.predict
    tensors = {part.name: np.zeros((_ROWS, part.width), part.dtype) for part in step.tensors}
    _learn(step.estimate, _ROWS, lambda: step.runner.run(tensors, step.output_names))


def _learn(estimate: Estimate, units: int, work: Callable[[], object]) -> None:
    now_s = SystemClock().thread_cpu_s
    work()
    for _ in range(_RUNS - 1):
        started_s = now_s()
        work()
        estimate.observe(now_s() - started_s, units)
