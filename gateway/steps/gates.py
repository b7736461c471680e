"""The gates of what the steps depend on: one for the store, one per pipeline's retrieval, one per model. They
outlive releases, so that what was learnt of a dependency isn't lost when something is published."""

from __future__ import annotations

from collections.abc import Collection

from gateway.batch import Batch
from runtime.gate import Gate


class Gates:
    """Every gate of one process, made when first asked for. Models and indexes lie in this process: one that
    is slow waits for a processor, it isn't gone."""

    def __init__(self) -> None:
        self._store = Gate()
        self._retrievals: dict[str, Gate] = {}
        self._models: dict[str, Gate] = {}

    def of_store(self, batch: Batch) -> Gate:
        """Return the gate of the online store."""
        return self._store

    def of_retrieval(self, batch: Batch) -> Gate:
        """Return the gate of the pipeline's searches: how long they take depends on its `k` as well."""
        name = batch.pipeline.name
        return self._retrievals.get(name) or self._retrievals.setdefault(name, Gate(is_local=True))

    def of_model(self, batch: Batch) -> Gate:
        """Return the gate of the pipeline's model."""
        name = batch.pipeline.predict.runner.name
        return self._models.get(name) or self._models.setdefault(name, Gate(is_local=True))

    def keep_only(self, pipelines: Collection[str], models: Collection[str]) -> None:
        """Forget the gates of other pipelines' retrievals, and of other models."""
        self._retrievals = {name: gate for name, gate in self._retrievals.items() if name in pipelines}
        self._models = {name: gate for name, gate in self._models.items() if name in models}
