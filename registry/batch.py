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
class Held:
    """A batch, by its id, and who runs it: nobody else publishes it meanwhile."""

    batch: str
    holder: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a refresh counted of one view's rows: those that can be loaded, those without a key, those that a
    newer row of their key replaces; how many values of each feature are null.

    `definition` identifies how the rows are made (their source and features). `since_us`: only rows of that
    event time and later were read, if it isn't None. `newest_event_time_us` is None without rows.
    """

    rows: int = 0
    keyless: int = 0
    repeated: int = 0
    nulls: Mapping[str, int] = field(default_factory=dict)
    definition: str = ""
    since_us: int | None = None
    newest_event_time_us: int | None = None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What a batch did. Times are microseconds since 1970; event times, of its oldest and newest row.

    `checks` are the results of what was verified, by name; `figures`, by view, are what later refreshes are
    compared with; `error` says why a failed batch failed, or a refused one was refused. `plan` is the plan
    it worked by, `fingerprint` that of what it read: a batch whose process is gone is resumed where both are
    unchanged; empty where that can't be known. `resumed` counts how often it was.
    """

    id: str
    number: int
    kind: str
    views: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    source: str = ""
    status: Literal["running", "done", "failed", "refused"] = "running"
    started_at_us: int = 0
    finished_at_us: int | None = None
    oldest_event_time_us: int | None = None
    newest_event_time_us: int | None = None
    row_count: int = 0
    generations: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Figures] = field(default_factory=dict)
    code_version: str = ""
    error: str = ""
    plan: int = 0
    fingerprint: str = ""
    resumed: int = 0

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
