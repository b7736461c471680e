"""The part of the settings that batch queries are run by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from runtime.settings_group import Group


class RefreshSettings(Group):
    """Which engine runs batch queries, and what it may take of the machine that it runs on."""

    engine: Literal["duckdb", "spark"] = "duckdb"
    """What runs the queries of `forebay refresh run`: `duckdb`, in the process; `spark`, on a cluster, whose
    executors write the rows themselves, and must reach the store (the extra `spark`)."""

    spark_master: str = ""
    """The Spark master, as `local[4]` or `spark://HOST:7077`. Empty: as Spark's own configuration says."""

    engine_memory_bytes: int = Field(default=1 << 30, ge=128 << 20)
    """Memory in bytes of the engine that runs batch queries. Past it sorting, grouping and joining go on in a
    temporary directory on disk, slower; a query that can't do so fails, saying so."""
