"""What the request path depends on, made slow or broken on request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, NotUsable, Unavailable
from numpy.typing import NDArray

from feature_store.memory_store import MemoryStore
from model_server.runner import ModelRunner
from model_server.tensors import TensorSpec
from runtime.clock import Clock


class FaultyStore(MemoryStore):
    """A store whose reads take `delay_s` from when they are asked for, or fail where `gone`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.delay_s = 0.0
        self.gone = False
        self.reads = 0

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        self.reads += 1
        if self.gone:
            raise Unavailable("the store is gone")
        left_s = deadline.remaining_s(self._clock.monotonic_s())
        if self.delay_s >= left_s:
            await asyncio.sleep(left_s)
            raise DeadlineExceeded("the store didn't answer before the deadline")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return await super().get_many(keys, deadline)


class FaultyRunner:
    """A model whose runs first call `before`, which may take its time, or raise."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self.before: Any = lambda: None

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
        return self._runner.run(inputs, outputs)

    def fail(self) -> None:
        """What `before` may be set to: a run that fails."""
        raise NotUsable(f"model {self.name} version {self.version} failed in a run")
