"""The rows of several views, read together: each view's keys, one round trip for what isn't at hand.
cached_store.py has what is; view_reader.py comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter

from forebay.deadline import Deadline

from feature_store.cached_store import CachedStore
from feature_store.store import OnlineStore
from feature_store.view_reader import ViewReader

Rows = list[bytes | None]
_near_cache_s = attrgetter("near_cache_s")


class ViewRows:
    """Reads rows of an online store, those of views with a near cache through it if the store has one."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._get_near = store.get_near if isinstance(store, CachedStore) else None

    async def read(
        self, readers: Sequence[ViewReader], texts: Sequence[Sequence[str]], deadline: Deadline
    ) -> list[Rows]:
        """Return each view's rows, one for each of its texts; UNREAD where a view's rows are out of reach.

        Raises: as OnlineStore.get_many. Cost: one round trip; none for views that were never refreshed.
        """
        keys = [reader.row_keys(of_view) for reader, of_view in zip(readers, texts, strict=True)]
        if self._get_near is not None and any(map(_near_cache_s, readers)):
            ages_s = [reader.near_cache_s for reader in readers]
            found = await self._get_near(list(zip(keys, ages_s, strict=True)), deadline)
            return [
                rows if own else [None] * len(of_view)
                for rows, own, of_view in zip(found, keys, texts, strict=True)
            ]
        every_key = keys[0] if len(keys) == 1 else list(chain.from_iterable(keys))
        read = await self._store.get_many(every_key, deadline) if every_key else []
        rows: list[Rows] = []
        start = 0
        for own, of_view in zip(keys, texts, strict=True):
            stop = start + len(own)
            rows.append(read[start:stop] if own else [None] * len(of_view))
            start = stop
        return rows
