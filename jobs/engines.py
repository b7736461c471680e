"""Which engine runs batch queries, as the settings say. Spark's is loaded only where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import NotUsable

from jobs.executors import StoreAddress
from jobs.in_thread import in_thread
from jobs.sources import DEFAULT_MEMORY_BYTES, Sources
from registry.plan import Plan
from runtime.settings import Settings

_SPARK = "jobs.spark.sources"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine for batch queries. `open` returns a plan's sources, to be entered and left. `is_ordered`: a
    query gives its rows in the same order each time, so that a killed refresh can be gone on with."""

    open: Callable[[Plan], Sources]
    is_ordered: bool = True

    @asynccontextmanager
    async def sources(self, plan: Plan) -> AsyncIterator[Sources]:
        """Open a plan's sources and close them at the end, both in a thread: an engine may take a minute."""
        sources = await in_thread(self.open, plan)
        try:
            yield sources
        finally:
            await in_thread(sources.close)


def duckdb_engine(memory_bytes: int = DEFAULT_MEMORY_BYTES) -> Engine:
    """Return the engine that runs in this process."""
    return Engine(lambda plan: Sources(plan.application.sources, Path(plan.root), memory_bytes))


DUCKDB = duckdb_engine()


def engine_of(settings: Settings, url: str) -> Engine:
    """Return the engine that is set. `url` is the store's, for who writes to it beside the job.

    Raises: NotUsable where Spark is set and not installed.
    """
    if settings.refresh.engine == "duckdb":
        return duckdb_engine(settings.refresh.engine_memory_bytes)
    try:
        spark = importlib.import_module(_SPARK)
    except ModuleNotFoundError as error:
        raise NotUsable(
            f"refresh.engine is spark, and the package {error.name} is not installed: "
            "pip install 'forebay-server[spark]'"
        ) from error
    address = StoreAddress(url, settings.redis, settings.feature_store)
    master = settings.refresh.spark_master

    def opened(plan: Plan) -> Sources:
        found: Sources = spark.SparkSources(plan.application.sources, Path(plan.root), address, master)
        return found

    return Engine(opened, is_ordered=False)
