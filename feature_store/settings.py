"""The feature store's part of the settings: how much goes to the online store in one command."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from runtime.settings import Group

ChunkRows = Annotated[int, Field(ge=1, le=100_000)]


class FeatureStoreSettings(Group):
    """Bounds on one command to the online store; larger calls are cut into several.

    A Redis server runs one command at a time: a larger chunk is cheaper for its caller, and makes every other
    caller wait longer.
    """

    read_chunk_rows: ChunkRows = 2_000
    """Rows read by one command. 2,000 rows of 220 bytes hold the server for about half a millisecond."""

    write_chunk_rows: ChunkRows = 100
    """Rows written by one newest-wins script, which holds the server until its last row: 100 rows of 220
    bytes for about half a millisecond."""

    load_chunk_rows: ChunkRows = 250
    """Rows of a new generation stored by one command, and keys removed by one. 250 rows of 220 bytes hold the
    server for about 0.2 milliseconds; more than that isn't faster."""
