"""The record that a batch leaves in the registry: that it began, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from forebay.errors import Error

from jobs.code_version import code_version
from jobs.refused import Refused
from registry.batch import Batch, BatchRecord, Figures
from registry.registry import Registry
from runtime.clock import Clock


@dataclass(slots=True)
class BatchLog:
    """Writes the record of one batch of some kind ("refresh", "index build", "precompute")."""

    registry: Registry
    clock: Clock
    record: BatchRecord = field(init=False)

    async def begin(
        self,
        batch: Batch,
        kind: str,
        started_at_us: int,
        *,
        views: Sequence[str] = (),
        pipelines: Sequence[str] = (),
        source: str = "",
        plan: int = 0,
        fingerprint: str = "",
    ) -> None:
        """Note that the batch runs."""
        self.record = BatchRecord(
            id=batch.id,
            number=batch.number,
            kind=kind,
            views=tuple(views),
            pipelines=tuple(pipelines),
            source=source,
            started_at_us=started_at_us,
            generations=dict(batch.generations),
            code_version=code_version(),
            plan=plan,
            fingerprint=fingerprint,
        )
        await self.save()

    async def resume(self, record: BatchRecord) -> None:
        """Go on with the record of a batch whose process was killed."""
        again = record.resumed + 1
        self.record = replace(record, resumed=again, row_count=0, checks={}, code_version=code_version())
        await self.save()

    async def save(self) -> None:
        """Store what is noted so far."""
        await self.registry.finish_batch(self.record)

    def note_checks(self, checks: Mapping[str, str]) -> None:
        """Add the results of checks."""
        self.record = replace(self.record, checks={**self.record.checks, **checks})

    def note_figures(self, view: str, figures: Figures) -> None:
        """Set what was counted of a view's rows."""
        self.record = replace(self.record, figures={**self.record.figures, view: figures})

    def note(self, checks: Mapping[str, str], *, rows: int, event_times_us: Sequence[int] = ()) -> None:
        """Add the results of one view or index; they are stored when the batch ends."""
        record = self.record
        oldest = [*event_times_us, *_known(record.oldest_event_time_us)]
        newest = [*event_times_us, *_known(record.newest_event_time_us)]
        self.record = replace(
            record,
            checks={**record.checks, **checks},
            row_count=record.row_count + rows,
            oldest_event_time_us=min(oldest, default=None),
            newest_event_time_us=max(newest, default=None),
        )

    async def done(self, indexes: Sequence[str] = ()) -> None:
        """Note that the batch is live, with the indexes built for it."""
        now_us = self.clock.now_us()
        self.record = replace(self.record, status="done", indexes=tuple(indexes), finished_at_us=now_us)
        await self.save()

    async def failed(self, cause: BaseException) -> None:
        """Note that the batch failed or was refused, and why. Where the registry is gone too, the record says
        "running"."""
        text = str(cause) or type(cause).__name__
        status: Literal["refused", "failed"] = "refused" if isinstance(cause, Refused) else "failed"
        self.record = replace(self.record, status=status, error=text, finished_at_us=self.clock.now_us())
        try:
            await self.registry.finish_batch(self.record)
        except Error as error:
            cause.add_note(f"the batch's record could not be written either: {error.message}")


def _known(value: int | None) -> list[int]:
    return [] if value is None else [value]
