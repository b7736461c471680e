"""The feature store's part of the settings: how much goes to the store in one command."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FeatureStoreSettings(BaseModel):
    """Bounds on one command to the online store. Larger calls are cut into several, sent without waiting.

    A Redis server runs one command at a time: a larger chunk is cheaper for its caller, and makes every other
    caller wait longer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    read_chunk_rows: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Rows read by one command. 2,000 rows of 220 bytes hold the server for about 0.5 ms.",
    )
    write_chunk_rows: int = Field(
        default=200,
        ge=1,
        le=2_000,
        description="Rows written by one script. A script costs the server about 2 us per row.",
    )
    load_chunk_rows: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Rows of a new generation sent in one pipeline, and keys removed by one command.",
    )
