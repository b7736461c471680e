"""What the prediction cache has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RecallStats:
    """Counts since the start; each request of a pipeline with `cache:` adds to exactly one of the first four.

    `hits` and `stale` were given a kept answer at once; `joined` waited for an answer that was being made for
    another; for `misses` it was made. `refreshes` were started for stale answers, `remade` counts joiners
    that could not use what they had waited for. `stored` answers were kept, `too_large` ones not; `evicted`
    made room for others, `invalidated` fell with a written row. `entries` and `bytes` are held now, keys and
    overhead included.
    """

    hits: int = 0
    stale: int = 0
    joined: int = 0
    misses: int = 0
    refreshes: int = 0
    remade: int = 0
    stored: int = 0
    too_large: int = 0
    evicted: int = 0
    invalidated: int = 0
    entries: int = 0
    bytes: int = 0
