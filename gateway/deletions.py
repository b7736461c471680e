"""Deleting entities, for DeleteEntities: from every view of theirs, and every generation that may be read
again. Transport-free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import InvalidRequest
from numpy.typing import NDArray

from feature_store.codec import ViewReader
from feature_store.keys import canonical_texts, row_keys
from feature_store.store import OnlineStore
from feature_store.types import Outcome
from gateway.features import MAX_ROWS, KeyColumns
from gateway.plan import CompiledRelease
from gateway.writes import Wrote
from runtime.clock import Clock

StoredGenerations = Callable[[Sequence[int], Deadline], Awaitable[list[list[int]]]]
"""Returns the generations that may have rows, for each view by its id: as Registry.stored_generations."""

NoteDeleted = Callable[[int, Sequence[int], Sequence[str], Deadline], Awaitable[None]]
"""Notes what is deleted of generations that are being written: as Registry.note_deleted."""


class EntityDeletions:
    """Deletes entities' rows, and keeps late writes from bringing them back.

    What is written in place is buried: a tombstone stands there for `max_lateness_s`, and what is older than
    the deletion doesn't replace it. Rows of swapped generations are removed, from all that are stored: the
    live one, the one that a rollback would make live, and one that is being written. No tombstone is left
    there, for a generation has one writer, and its source decides what it holds. But the writer may have read
    the entity before it was deleted: what is newer than the live generation is noted first, and the writer
    looks at the notes once all its rows are written. Whichever comes second, note or look, finds the rows.
    """

    def __init__(
        self,
        store: OnlineStore,
        clock: Clock,
        generations: StoredGenerations,
        note: NoteDeleted,
        max_lateness_s: float,
        wrote: Wrote,
    ) -> None:
        self._store = store
        self._clock = clock
        self._generations = generations
        self._note = note
        self._max_lateness_s = max_lateness_s
        self._wrote = wrote

    async def delete(
        self, release: CompiledRelease, entity: str, keys: KeyColumns, deadline: Deadline
    ) -> NDArray[np.uint8]:
        """Return an Outcome per entity, (n,) uint8: APPLIED; OLDER where a view has a row that was written
        since the deletion was asked for, with a newer event time, which stays.

        A deletion that fails may have been made in part; asking again is safe.

        Raises: InvalidRequest naming `keys` for no row; NotFound, Unavailable, DeadlineExceeded.
        Cost: a round trip per view, one per chunk of rows in each, and one besides; one more per view that is
        being refreshed.
        """
        texts = canonical_texts(release.entity_key(entity), list(keys.values()), "keys")
        if not texts:
            raise InvalidRequest(f"keys: give 1 to {MAX_ROWS} rows, not 0", field="keys")
        readers = [reader for reader in release.readers.values() if reader.view.entity == entity]
        outcomes = np.full(len(texts), Outcome.APPLIED, np.uint8)
        if not readers:
            return outcomes
        now_us = self._clock.now_us()
        stored = await self._generations([reader.view.view_id for reader in readers], deadline)
        for reader, generations in zip(readers, stored, strict=True):
            try:
                if reader.view.publish == "upsert":
                    in_place = reader.row_keys(texts)
                    buried = await self._store.bury_many(in_place, now_us, self._max_lateness_s, deadline)
                    outcomes = np.maximum(outcomes, buried)
                newer = [one for one in generations if one > (reader.generation or 0)]
                await self._note(reader.view.view_id, newer, texts, deadline)
                await self._store.delete_many(_swapped_keys(reader, generations, texts), deadline)
            finally:
                self._wrote(reader.view.name, texts)
        return outcomes


def _swapped_keys(reader: ViewReader, stored: Sequence[int], texts: Sequence[str]) -> list[bytes]:
    """Return the row keys of every generation that isn't written in place."""
    view = reader.view
    generations = set(stored)
    if reader.generation is not None:
        if view.publish == "upsert":  # it may have been swapped once, and be so again after a rollback
            generations.discard(reader.generation)
        else:
            generations.add(reader.generation)
    return [
        key
        for generation in sorted(generations)
        for key in row_keys(view.entity_id, view.view_id, generation, texts)
    ]
