"""One view that a stream feeds: its part of decoded events, as a block for the store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from forebay.errors import NotUsable
from numpy.typing import NDArray

from feature_store.keys import canonical_texts
from feature_store.store import OnlineStore
from feature_store.windows.events import EventBlock, EventOutcome, Source
from feature_store.windows.writer import WindowWriter
from jobs.stream.checkpoints import Feed
from jobs.stream.events import Column, Events

_COUNTED = {
    EventOutcome.APPLIED: "applied",
    EventOutcome.REPEATED: "repeated",
    EventOutcome.LATE: "late",
    EventOutcome.DELETED: "deleted",
}


@dataclass(frozen=True, slots=True)
class ViewFeed:
    """Brings events into one view's rows. `cut_us`: events up to that time came from the view's history."""

    writer: WindowWriter
    cut_us: int | None = None

    @property
    def view(self) -> str:
        return self.writer.view.name

    @property
    def feed(self) -> Feed:
        return self.writer.view.view_id, self.writer.generation

    async def apply(self, store: OnlineStore, events: Events, source: Source, now_us: int) -> Counter[str]:
        """Return what became of the events, by the names of checkpoints.COUNTS, when all are settled.

        Raises: what the store does; NotUsable where a row takes none, since none may be dropped.
        """
        counts: Counter[str] = Counter()
        if self.cut_us is not None:
            kept = events.where(events.event_times_us > self.cut_us)
            counts["covered"] = events.count - kept.count
            events = kept
        if not events.count:
            return counts
        block = self._block(events, source)
        outcomes = await self.writer.apply(store, block, now_us)
        for outcome, count in zip(*np.unique(outcomes, return_counts=True), strict=True):
            name = _COUNTED.get(EventOutcome(int(outcome)))
            if name is None:
                place = int(np.flatnonzero(outcomes == outcome)[0])
                raise NotUsable(self._stuck(EventOutcome(int(outcome)), block.texts[place]))
            counts[name] += int(count)
        return counts

    def _block(self, events: Events, source: Source) -> EventBlock:
        keys = self.writer.view.key
        texts = canonical_texts(keys, [events.columns[field.name] for field in keys])
        values = {name: numbers(events.columns[name]) for name in self.writer.fields}
        return EventBlock(source, texts, events.event_times_us, events.positions, values)

    def _stuck(self, outcome: EventOutcome, text: str) -> str:
        view = self.writer.view
        why = "isn't a row of this view" if outcome is EventOutcome.CORRUPT else "keeps too many positions"
        return (
            f"what is stored in view {view.name} for {view.entity} {text} {why}, so events can't be applied: "
            "delete the entity (DeleteEntities) to make room"
        )


def numbers(column: Column) -> NDArray[Any]:
    """Return a column as windows take it: floats, NaN where null; of texts, 1 where there is one."""
    if isinstance(column, list):
        return np.array([np.nan if value is None else 1.0 for value in column], np.float64)
    return column if column.dtype.kind == "f" else column.astype(np.float64)
