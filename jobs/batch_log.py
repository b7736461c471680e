"""The record that a batch leaves in the registry: that it began, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from forebay.errors import Error

from jobs.code_version import code_version
from registry.batch import Batch, BatchRecord
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
        )
        await self.registry.finish_batch(self.record)

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
        await self.registry.finish_batch(self.record)

    async def failed(self, cause: BaseException) -> None:
        """Note that the batch failed, and why. Where the registry is gone too, the record says "running"."""
        text = str(cause) or type(cause).__name__
        self.record = replace(self.record, status="failed", error=text, finished_at_us=self.clock.now_us())
        try:
            await self.registry.finish_batch(self.record)
        except Error as error:
            cause.add_note(f"the batch's record could not be written either: {error.message}")


def _known(value: int | None) -> list[int]:
    return [] if value is None else [value]
