"""The engines' parts of the settings. They are declared here, below the engines, so that one tree holds all
settings; each engine is given its own part.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.settings_group import Group

ChunkRows = Annotated[int, Field(ge=1, le=100_000)]


class FeatureStoreSettings(Group):
    """Bounds on one command to the online store, larger calls being cut into several, and on the rows that a
    server keeps at hand.

    A Redis server runs one command at a time: a larger chunk is cheaper for its caller, and makes every other
    caller wait longer.
    """

    read_chunk_rows: ChunkRows = 2_000
    """Rows read by one command. 2,000 rows of 220 bytes hold the server for about half a millisecond."""

    write_chunk_rows: ChunkRows = 100
    """Rows written by one newest-wins script, which holds the server until its last row: 100 rows of 220
    bytes for about half a millisecond."""

    near_cache_max_bytes: int = Field(
        default=67_108_864,
        ge=0,
        description="Bytes of the rows that each process keeps at hand for views with `near_cache`, keys and "
        "tables included; past it the oldest go, but for those in use. 0: nothing is kept.",
    )
    near_cache_absent_s: float = Field(
        default=1.0,
        ge=0,
        description="Seconds for which it may be kept that an entity has no row in a view with `near_cache`, "
        "where the view's own bound isn't shorter. Higher spares reads for unknown entities, and lets a new "
        "entity's first row wait that long.",
    )

    max_lateness_s: float = Field(
        default=3600.0,
        ge=0.001,
        le=31 * 86_400,
        description="How long a deleted entity's tombstones are kept, in seconds: a write that comes later, "
        "with an event time before the deletion, brings the entity back.",
    )

    load_chunk_rows: ChunkRows = 250
    """Rows of a new generation stored by one command, and keys removed by one. 250 rows of 220 bytes hold the
    server for about 0.2 milliseconds; more than that isn't faster."""


class AnnIndexSettings(Group):
    """How an index is chosen, built, tuned, measured and cached."""

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


class OnnxSettings(Group):
    """How ONNX Runtime loads and runs a model on the CPU."""

    max_model_bytes: int = Field(
        default=1 << 30,
        ge=1,
        le=2**31 - 1,
        description="Largest model file that is loaded, in bytes. Loading takes about three times that.",
    )
    threads_per_run: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads inside one run. With one there is no pool: runs go on in parallel instead. More "
        "only where a single run takes longer than its budget; ONNX Runtime ignores a container's CPU limit.",
    )
    warm_rows: tuple[int, ...] = Field(
        default=(1, 11, 100),
        description="Batch sizes that a model is run with before it serves, so that no request pays for the "
        "first allocation.",
    )
