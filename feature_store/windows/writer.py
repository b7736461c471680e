"""Events into the rows of one view, at one generation. What calls it is jobs/stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from forebay.deadline import NEVER, Deadline
from forebay.errors import NotUsable
from numpy.typing import NDArray

from feature_store.keys import RowKeys
from feature_store.schema import FeatureView
from feature_store.store import OnlineStore
from feature_store.windows.events import EventBlock
from feature_store.windows.ring_row import RingForm

SPARE_S: Final = 86_400.0
"""How long a row stays after the last of its tiles has left every window: clocks differ, and workers rest."""


class WindowWriter:
    """Applies events to a view's rows.

    A row that gets no event for the span of its ring and SPARE_S is gone: it would read as one that isn't
    there. `max_lateness_s`: it stays at least so long, for it remembers the deletion of its entity.
    Raises: NotUsable for a view that isn't over a stream.
    """

    def __init__(self, view: FeatureView, generation: int, max_lateness_s: float) -> None:
        if view.ring is None:
            raise NotUsable(f"view {view.name} isn't over a stream: events make no rows of it")
        self.view = view
        self.generation = generation
        self.form: RingForm = view.ring
        self._row_keys = RowKeys(view.entity_id, view.view_id, generation)
        self.kept_s = max(self.form.ring.span_us / 1e6 + SPARE_S, max_lateness_s)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a block of events must have."""
        return tuple(field.name for field in self.form.ring.fields)

    def row_keys(self, texts: Sequence[str]) -> list[bytes]:
        """Return the row key of each canonical entity text."""
        return self._row_keys.of(texts)

    async def apply(
        self, store: OnlineStore, events: EventBlock, now_us: int, deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        """Return an EventOutcome per event, (n,) uint8, when all are settled. As OnlineStore.apply_events."""
        keys = self.row_keys(events.texts)
        return await store.apply_events(keys, events, self.form, now_us, self.kept_s, deadline)
