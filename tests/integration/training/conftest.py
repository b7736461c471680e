"""Applications over a history, in one store for the package: refreshed as at an instant, joined offline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.codec import FeatureColumn, ViewReader
from feature_store.keys import canonical_texts
from feature_store.redis_store import RedisStore
from feature_store.schema import feature_view
from jobs.index_build import IndexBuilder
from jobs.model_checks import initial_versions
from jobs.progress import unheard
from jobs.refresh import Refresh
from jobs.refresh_options import RefreshOptions
from jobs.training.labels import LabelOptions
from jobs.training.training_set import TrainingSet, TrainingSetOptions, TrainingSetOutcome
from jobs.training.wanted import Asked
from registry.application_file import load_application_file
from registry.registry import Registry
from runtime.clock import ManualClock, SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.engine_settings import AnnIndexSettings
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings

NOW_US = 1_800_000_000_000_000


@dataclass
class History:
    """An application in a directory, and what is done with it."""

    root: Path
    connection: RedisConnection
    app: str = ""

    async def apply(self, text: str) -> None:
        """Apply `text` as the application file."""
        file = self.root / "app.yaml"
        file.write_text(text)
        loaded = load_application_file(file)
        self.app = loaded.application.app
        versions = initial_versions(loaded.application, self.root)
        await self.registry_at(NOW_US).apply(loaded.application, loaded.root, models=versions)

    async def refresh(self, at_us: int, *views: str, **options: Any) -> None:
        """Refresh as at an instant, of what the sources hold."""
        clock = ManualClock(now_us=at_us)
        registry, store = self.registry_at(at_us), RedisStore(self.connection)
        builder = IndexBuilder(
            self.connection, store, self.root / "artifacts", SystemClock(), AnnIndexSettings()
        )
        job = Refresh(registry, self.connection, store, builder, clock, unheard)
        await job.run(views, RefreshOptions(who="tester", allow_shrink=True, **options))

    async def read(
        self, at_us: int, view: str, features: list[str], *keys: list[Any]
    ) -> dict[str, FeatureColumn]:
        """Return what the store answers at an instant."""
        registry = self.registry_at(at_us)
        live, plan = await registry.live(), await registry.live_plan()
        assert live is not None
        assert plan is not None
        entry = live.views[view]
        reader = ViewReader(feature_view(plan, view), entry.generation, entry.as_of_us)
        rows = await RedisStore(self.connection).get_many(
            reader.row_keys(canonical_texts(reader.view.key, keys))
        )
        block = reader.decode(rows, at_us)
        return {feature: block.column(feature) for feature in features}

    async def training_set(
        self, *names: str, labels: str | dict[str, Any], now_us: int = NOW_US, **options: Any
    ) -> tuple[pa.Table, TrainingSetOutcome]:
        """Return the training set that is written, and what the job says of it."""
        if isinstance(labels, dict):
            pq.write_table(pa.table(labels), self.root / "labels.parquet")
            labels = str(self.root / "labels.parquet")
        asked = Asked(names, frozenset(options.pop("as_is", ())), options.pop("every_us", {}))
        chosen = LabelOptions(labels, options.pop("time", "event_time"), options.pop("allow_repeated", False))
        output = self.root / "training.parquet"
        job = TrainingSet(self.registry_at(now_us), ManualClock(now_us=now_us), unheard)
        outcome = await job.run(TrainingSetOptions(asked, chosen, output, **options))
        return pq.read_table(output), outcome

    def registry_at(self, now_us: int) -> Registry:
        return Registry(self.connection, self.app, ManualClock(now_us=now_us))


@pytest.fixture(scope="package")
def training_store() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture
async def history(training_store: TemporaryStore, tmp_path: Path) -> AsyncIterator[History]:
    """An empty application, in an empty store."""
    connection = await RedisConnection.connect(training_store.url, RedisSettings(), SystemClock())
    try:
        await connection.execute("FLUSHALL")
        yield History(tmp_path, connection)
    finally:
        await connection.aclose()
