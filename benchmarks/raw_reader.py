"""Rows of prepared requests read raw, one request after the other: the floor of a read of the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.raw_store import RawStore

_MOST_KEYS = 200_000


class RawReader:
    """Reads one MGET per request, each view's rows into one array.

    Shapes: `views` holds the row keys of each view that is read; `places` (requests, entities) indexes them.
    Of the requests the first are taken, as many as fit a bound on the keys held.
    """

    def __init__(self, raw: RawStore, views: Sequence[Sequence[bytes]], places: NDArray[np.int64]) -> None:
        self._raw = raw
        self._entities = places.shape[1]
        keys_per_request = self._entities * len(views)
        self._commands = [
            ("MGET", *[keys[place] for keys in views for place in row])
            for row in places[: max(20, _MOST_KEYS // keys_per_request)].tolist()
        ]
        self._turn = 0

    def read(self) -> list[NDArray[np.uint8]]:
        """Return the next request's rows: each view's bytes."""
        command = self._commands[self._turn]
        self._turn = (self._turn + 1) % len(self._commands)
        rows = self._raw.execute(*command)
        size = self._entities
        return [
            np.frombuffer(b"".join(rows[start : start + size]), np.uint8)
            for start in range(0, len(rows), size)
        ]
