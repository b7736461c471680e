"""The index's part of the settings: how snapshots are built, and how much a server keeps of them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AnnIndexSettings(BaseModel):
    """How an index is chosen, built, tuned, measured and cached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flat_max_rows: int = Field(
        default=20_000,
        ge=1,
        description="Rows up to which every search scans all of them: exact, and as fast as a graph.",
    )
    hnsw_max_rows: int = Field(
        default=1_000_000,
        ge=1,
        description="Rows up to which a graph (HNSW) is built; above, lists (IVF), built ten times faster.",
    )
    hnsw_links: int = Field(
        default=32, ge=4, le=64, description="Links per row of a graph: 8 bytes of memory each, twice this."
    )
    hnsw_build_effort: int = Field(
        default=40, ge=8, le=1_000, description="efConstruction: higher builds slower and finds more."
    )
    build_threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads of a build. With one, the same input gives the same index; a graph built by "
        "several differs from build to build.",
    )
    target_recall: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="recall@10 that a search is tuned to where the index's publish_if doesn't name one.",
    )
    sample_queries: int = Field(
        default=1_000,
        ge=50,
        le=100_000,
        description="Queries that recall is measured with, and as many others that the search is tuned with. "
        "Fewer widen the confidence interval, so that a higher recall is needed to pass the same bar.",
    )
    latency_searches: int = Field(
        default=500, ge=10, le=100_000, description="Single searches whose p50 and p99 the manifest states."
    )
    max_file_bytes: int = Field(
        default=1 << 36, ge=1, description="Largest file of a snapshot that a server loads, in bytes."
    )
    cache_max_bytes: int = Field(
        default=1 << 35,
        ge=0,
        description="Bytes that the cache may hold beyond the snapshot just loaded; least recently loaded "
        "files go first. Files still mapped by a process stay readable for it.",
    )
