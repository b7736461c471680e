"""A batch: one refresh of views, one build of an index, or one making of precomputed answers; its number
orders what it writes, its record says what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that has begun.

    `number` is the write time that its rows carry, in microseconds; it rises strictly within an application.
    `generations` are where its rows go: a new one for each swapped view, the live one for each other.
    """

    id: str
    number: int
    generations: Mapping[str, int] = field(default_factory=dict)

    @property
    def generation(self) -> int:
        """Return the generation of a batch of one view. Raises: ValueError, if it is of several."""
        [generation] = self.generations.values()
        return generation


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What a batch did. Times are microseconds since 1970; event times, of its oldest and newest row.

    `checks` are the results of what was verified, by name; `error` says why a failed batch failed.
    """

    id: str
    number: int
    kind: str
    views: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    source: str = ""
    status: Literal["running", "done", "failed"] = "running"
    started_at_us: int = 0
    finished_at_us: int | None = None
    oldest_event_time_us: int | None = None
    newest_event_time_us: int | None = None
    row_count: int = 0
    generations: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""
    error: str = ""

    def to_json(self) -> str:
        """Return the record as the registry stores it."""
        return _RECORD.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> BatchRecord:
        """Return the record that `to_json` wrote.

        Raises: ValueError, where the text isn't one.
        """
        return _RECORD.validate_json(text)


_RECORD = TypeAdapter(BatchRecord)
