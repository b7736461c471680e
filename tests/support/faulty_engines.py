"""What the request path depends on, made slow or broken on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, NotUsable, Unavailable
from numpy.typing import NDArray

from ann_index.index import VectorIndex
from ann_index.types import Metric, Neighbours
from feature_store.memory_store import MemoryStore
from model_server.runner import ModelRunner
from model_server.tensors import TensorSpec
from runtime.clock import Clock


class FaultyStore(MemoryStore):
    """A store whose reads take `delay_s` and `row_delay_s` for each row, or fail where `gone`. With
    `slow_views`, only reads of views with these ids do."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.delay_s = 0.0
        self.row_delay_s = 0.0
        self.gone = False
        self.slow_views: set[int] | None = None
        self.reads = 0

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        self.reads += 1
        if self.slow_views is not None and not any(_view_of(key) in self.slow_views for key in keys):
            return await super().get_many(keys, deadline)
        if self.gone:
            raise Unavailable("the store is gone")
        left_s = deadline.remaining_s(self._clock.monotonic_s())
        delay_s = self.delay_s + self.row_delay_s * len(keys)
        if delay_s >= left_s:
            await asyncio.sleep(left_s)
            raise DeadlineExceeded("the store didn't answer before the deadline")
        if delay_s:
            await asyncio.sleep(delay_s)
        return await super().get_many(keys, deadline)


def _view_of(key: bytes) -> int:
    """Return the view's id in a row's key, `f{entity:key}view:generation`; -1 in any other key."""
    return int(key.rpartition(b"}")[2].split(b":")[0]) if key.startswith(b"f{") else -1


class FaultyRunner:
    """A model whose runs first call `before`, then fail where `broken`, or where a row's first number is over
    `most`. `runs` says how many rows each had."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self.before: Callable[[], None] = lambda: None
        self.broken = False
        self.most = np.inf
        self.runs: list[int] = []

    @property
    def name(self) -> str:
        return self._runner.name

    @property
    def version(self) -> str:
        return self._runner.version

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._runner.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._runner.outputs

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        self.before()
        first = next(iter(inputs.values()))
        self.runs.append(len(first))
        if self.broken or (first[:, 0] > self.most).any():
            raise NotUsable(f"model {self.name} version {self.version} failed in a run")
        return self._runner.run(inputs, outputs)


class WatchedIndex:
    """An index whose searches first call `before`."""

    def __init__(self, index: VectorIndex, before: Callable[[], None]) -> None:
        self._index = index
        self._before = before

    @property
    def dimension(self) -> int:
        return self._index.dimension

    @property
    def metric(self) -> Metric:
        return self._index.metric

    @property
    def count(self) -> int:
        return self._index.count

    def search(
        self, queries: NDArray[np.float32], k: int, exclude: Sequence[NDArray[np.int64]] | None = None
    ) -> Neighbours:
        self._before()
        return self._index.search(queries, k, exclude)
