"""What becomes of generations that are not live: one that failed is removed at once, the one before the live
one stays whole for a rollback, older ones are swept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from feature_store.keys import row_keys
from feature_store.schema import FeatureView
from feature_store.store import OnlineStore
from jobs.generation_keys import GenerationKeys
from registry.release import Release

RETIRED_AFTER_US = 30_000_000
"""How long a generation that is no longer live is left alone: a server may still be loading the release that
replaces it, and reads the old rows until then.
"""


async def remove_generation(
    store: OnlineStore, keys: GenerationKeys, view: FeatureView, generation: int
) -> int:
    """Remove a generation's rows and then its key list; return how many rows there were."""
    removed = 0
    async for texts in keys.chunks(generation):
        removed += await store.delete_many(row_keys(view.entity_id, view.view_id, generation, texts))
    await keys.forget(generation)
    return removed


async def remove_from(
    store: OnlineStore, keys: GenerationKeys, view: FeatureView, generation: int, kept: int
) -> None:
    """Remove what a generation that nobody reads holds after its first `kept` chunks, rows before texts."""
    async for texts in keys.chunks(generation, kept):
        await store.delete_many(row_keys(view.entity_id, view.view_id, generation, texts))
    await keys.trim(generation, kept)


async def sweep_generations(
    store: OnlineStore, keys: GenerationKeys, view: FeatureView, releases: Sequence[Release], now_us: int
) -> list[int]:
    """Remove the generations of a view that nobody needs any more; return which.

    `releases` are the newest, newest first: they say which generations were live, and until when. Kept are
    the live one, the one before it, those out of service for less than RETIRED_AFTER_US, and whatever is
    newer than the live one: another job may be building it.
    """
    succession = _succession(releases, view.name)
    if not succession:
        return []
    live, _ = succession[0]
    kept = {generation for generation, _ in succession[:2]}
    for (_, replaced_at_us), (generation, _) in pairwise(succession):
        if now_us - replaced_at_us < RETIRED_AFTER_US:
            kept.add(generation)
    stored = await keys.generations()
    swept = [generation for generation in stored if generation < live and generation not in kept]
    for generation in swept:
        await remove_generation(store, keys, view, generation)
    return swept


def _succession(releases: Sequence[Release], view: str) -> list[tuple[int, int]]:
    """Return the generations that were live, newest first, each with the instant since which it was."""
    found: list[tuple[int, int]] = []
    for release in releases:
        entry = release.views.get(view)
        if entry is None:
            break
        if found and found[-1][0] == entry.generation:
            found[-1] = (entry.generation, release.at_us)
        else:
            found.append((entry.generation, release.at_us))
    return found
