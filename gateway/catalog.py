"""What may be told of the views of a release, for ListViews and DescribeView: what is live, how many rows it
has, how old it is. Transport-free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from forebay.errors import Error

from feature_store.codec import ViewReader
from feature_store.schema import FeatureView
from gateway.plan import CompiledRelease
from registry.batch import BatchRecord
from runtime.clock import Clock

logger = logging.getLogger(__name__)

BatchRecords = Callable[[Sequence[str]], Awaitable[Mapping[str, BatchRecord]]]
"""Returns batches' records by id: as Registry.batch_records."""

WAIT_S = 0.25
"""How long a description waits for the batches' records: what they tell is not worth failing for."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """A view as it is now. None: `row_count` isn't known; `age_us` and `stale`, each row has its own."""

    reader: ViewReader
    batch: str
    row_count: int | None
    age_us: int | None
    stale: bool | None


class ViewCatalog:
    """Describes views. A record that can't be read leaves the number of rows unsaid."""

    def __init__(self, records: BatchRecords, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._kept: dict[str, BatchRecord] = {}

    async def describe(self, release: CompiledRelease, names: Iterable[str]) -> list[ViewState]:
        """Return the state of these views.

        Raises: NotFound. Cost: a round trip where a batch is met for the first time, WAIT_S at most.
        """
        readers = [release.reader(name) for name in names]
        batches = (release.batches.get(reader.view.name) for reader in readers)
        await self._read([batch for batch in batches if batch is not None])
        now_us = self._clock.now_us()
        return [self._state(release, reader, now_us) for reader in readers]

    async def _read(self, ids: Sequence[str]) -> None:
        """Keep the records of these batches, and no others. What has ended doesn't change any more."""
        unknown = [batch for batch in dict.fromkeys(ids) if batch not in self._kept]
        if not unknown:
            return
        try:
            found = await asyncio.wait_for(self._records(unknown), WAIT_S)
        except (Error, TimeoutError) as error:
            logger.warning("the records of %s can't be read: %s", ", ".join(unknown), error or "too slow")
            return
        kept = {batch: record for batch, record in self._kept.items() if batch in ids}
        self._kept = kept | {batch: record for batch, record in found.items() if record.status == "done"}

    def _state(self, release: CompiledRelease, reader: ViewReader, now_us: int) -> ViewState:
        view = reader.view
        batch = release.batches.get(view.name, "")
        record = self._kept.get(batch)
        age_us = None if reader.as_of_us is None else max(0, now_us - reader.as_of_us)
        return ViewState(
            reader=reader,
            batch=batch,
            row_count=None if record is None else _row_count(record, view),
            age_us=age_us,
            stale=_stale(view, age_us),
        )


def _stale(view: FeatureView, age_us: int | None) -> bool | None:
    """Return whether a view is too old; windows are where nothing tells how far their stream has come."""
    if age_us is None:
        return None if view.ring is None else True
    return view.max_age_us is not None and age_us > view.max_age_us


def _row_count(record: BatchRecord, view: FeatureView) -> int | None:
    """Return how many rows the generation that a batch wrote has; None for rows that are written in place."""
    figures = record.figures.get(view.name)
    return figures.rows if view.publish == "swap" and figures is not None else None
