"""Refreshes whose store or source fails them half way: no wrong value, the last good one serves, the next
refresh recovers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import Error, NotUsable, Unavailable

from ann_index.snapshot import index_directory, list_versions
from feature_store.redis_store import RedisStore
from feature_store.types import Outcome, Status
from gateway.compile import compile_release
from gateway.deletions import EntityDeletions
from gateway.shelf import Shelf
from jobs.refresh import Refresh
from jobs.refused import Refused
from runtime.engine_settings import AnnIndexSettings, OnnxSettings

SPACE = ("item_profile", "user_taste")
Step = Callable[[], Awaitable[None]]


class Interrupted(RedisStore):
    """A store to whose loads something happens: before the first row is written, or after all are."""

    def __init__(self, shop: Any, before: Step | None = None, after: Step | None = None) -> None:
        super().__init__(shop.connection)
        self._before, self._after = before, after

    async def load_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> None:
        before, self._before = self._before, None
        if before is not None:
            await before()
        await super().load_many(keys, rows, deadline)
        after, self._after = self._after, None
        if after is not None:
            await after()


async def prices(shop: Any, *keys: int) -> list[float]:
    values, _ = await shop.read("item_profile", "price", list(keys))
    return [float(price) for price in values]


async def out_of_memory(shop: Any) -> None:
    await shop.connection.execute("CONFIG", "SET", "maxmemory", "1mb")


async def read_only(shop: Any) -> None:
    await shop.connection.execute("REPLICAOF", "127.0.0.1", "1")


async def cut_off(shop: Any) -> None:
    with suppress(Unavailable):
        await shop.connection.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")


async def connected(shop: Any) -> None:
    """Return when the connection is there again."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                await shop.connection.execute("PING")
                return
            await asyncio.sleep(0.01)


async def repair(shop: Any) -> None:
    await connected(shop)
    await shop.connection.execute("REPLICAOF", "NO", "ONE")
    await shop.connection.execute("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("fault", [out_of_memory, read_only, cut_off])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_live_rows_serve_and_the_next_refresh_is_right_when_the_store_fails_half_way(
    shop: Any, fault: Callable[[Any], Awaitable[None]], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.refresh(*SPACE)
    before, rows = await shop.registry.live(), await shop.row_count()
    shop.write_items(price=np.full(300, 77.0))
    store = shop.store

    async def fails() -> None:
        await fault(shop)

    shop.store = Interrupted(shop, **{when: fails})
    try:
        with pytest.raises(Error) as failed:
            await shop.refresh(*SPACE)
        assert isinstance(failed.value, Unavailable | Refused), failed.value.message
        await connected(shop)
        assert await prices(shop, 2, 4) == [1.0, 2.0]
    finally:
        await repair(shop)
    shop.store = store
    assert await shop.registry.live() == before
    monkeypatch.setattr("jobs.abandoned.is_gone", lambda writer: True)  # the process that failed has ended
    await shop.refresh(*SPACE)
    assert await prices(shop, 2, 4) == [77.0, 77.0]
    assert await shop.row_count() == 2 * rows, "the two newest generations, nothing of the failed one"
    statuses = [record.status for record in await shop.registry.batches(3)]
    assert (statuses[0], "running" in statuses) == ("done", False)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_deleted_entity_does_not_come_back_with_a_generation_that_was_being_written(
    shop: Any, when: str, tmp_path: Path
) -> None:
    await shop.refresh(*SPACE)
    live, plan = await shop.registry.live(), await shop.registry.live_plan()
    shelf = Shelf("shop", tmp_path, tmp_path, AnnIndexSettings(), OnnxSettings())
    release = compile_release(plan, live, shelf)
    registry = shop.registry
    deletions = EntityDeletions(
        shop.store, shop.clock, registry.stored_generations, registry.note_deleted, 3600.0, lambda *_: None
    )

    async def delete() -> None:
        outcomes = await deletions.delete(release, "item", {"item_id": np.array([7, 8])}, NEVER)
        assert outcomes.tolist() == [Outcome.APPLIED] * 2

    shop.store = Interrupted(shop, **{when: delete})
    await shop.refresh(*SPACE)
    assert (await shop.registry.live()).number > live.number
    _, statuses = await shop.read("item_profile", "price", [6, 7, 8, 9])
    present, missing = Status.PRESENT, Status.DEFAULTED
    assert statuses == [present, missing, missing, present]
    await shop.refresh(*SPACE)
    _, statuses = await shop.read("item_profile", "price", [7, 8])
    assert statuses == [present, present], "a refresh that began later takes what its source holds"


async def test_nothing_is_published_when_a_file_is_replaced_while_it_is_read(shop: Any) -> None:
    await shop.refresh(*SPACE)
    before, rows = await shop.registry.live(), await shop.row_count()

    async def replace() -> None:
        shop.write_items(price=np.full(300, 5.0))

    shop.store = Interrupted(shop, before=replace)
    with pytest.raises(NotUsable, match="a file that item_profile, user_taste read changed meanwhile"):
        await shop.refresh(*SPACE)
    assert await shop.registry.live() == before
    assert await shop.row_count() == rows
    shop.store = RedisStore(shop.connection)
    await shop.refresh(*SPACE)
    assert await prices(shop, 1) == [5.0]


async def test_snapshots_of_a_refresh_that_failed_or_was_killed_are_removed(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.refresh(*SPACE)
    live = await shop.build_index()
    directory = index_directory(shop.root / "artifacts", "shop", "items")

    async def unavailable(*args: Any, **options: Any) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(shop.registry, "publish", unavailable)
        with pytest.raises(Unavailable):
            await shop.refresh(*SPACE)
        assert list_versions(directory) == [live], "of one that failed"
        broken.setattr(Refresh, "_ended", unavailable)  # as a process that is killed leaves it
        with pytest.raises(Unavailable):
            await shop.refresh(*SPACE)
    assert len(list_versions(directory)) == 2
    (directory / ".tmp-99").mkdir()  # what a killed build leaves
    monkeypatch.setattr("jobs.abandoned.is_gone", lambda writer: True)
    shop.write_items(price=np.full(300, 5.0))
    await shop.refresh(*SPACE)
    published = (await shop.registry.live()).indexes["items"].version
    assert list_versions(directory) == sorted([live, published])
    assert not (directory / ".tmp-99").exists()


async def test_snapshots_of_a_killed_run_go_when_its_batch_is_gone_on_with(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.refresh(*SPACE)
    live = await shop.build_index()
    directory = index_directory(shop.root / "artifacts", "shop", "items")

    async def unavailable(*args: Any, **options: Any) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as killed:
        killed.setattr(shop.registry, "publish", unavailable)
        killed.setattr(Refresh, "_ended", unavailable)
        with pytest.raises(Unavailable):
            await shop.refresh(*SPACE)
    monkeypatch.setattr("jobs.abandoned.is_gone", lambda writer: True)
    outcome = await shop.refresh(*SPACE)
    assert [view.written.resumed for view in outcome.views] == [0, 0], "the last chunk is written again"
    published = (await shop.registry.live()).indexes["items"].version
    assert list_versions(directory) == sorted([live, published])


async def test_rollback_is_refused_when_the_generation_before_was_swept(shop: Any) -> None:
    for price in (1.0, 2.0, 3.0):
        shop.write_items(price=np.full(300, price))
        await shop.refresh(*SPACE)
        shop.clock.advance(60)
    await shop.rollback.run("item_profile", same_space=False)
    assert await prices(shop, 1) == [2.0]
    with pytest.raises(NotUsable, match="only the one before the live one is kept"):
        await shop.rollback.run("item_profile", same_space=False)
    assert await prices(shop, 1) == [2.0]


async def test_the_newest_row_of_a_key_is_live_and_the_others_are_told(shop: Any) -> None:
    count = 300
    ids = np.arange(count) % 100
    shop.write_items(item_id=ids)
    outcome = await shop.refresh(*SPACE)
    [items] = [view for view in outcome.views if view.view == "item_profile"]
    assert (items.counts.returned, items.counts.repeated, items.written.applied) == (count, 200, 100)
    assert await prices(shop, 0, 99) == [100.0, 149.5], "of the newest event time"
    assert any("repeat" in remark for remark in outcome.remarks)


async def test_a_column_more_is_ignored_and_keys_that_are_not_whole_are_refused(shop: Any) -> None:
    await shop.refresh(*SPACE)
    before = await shop.registry.live()
    ids = np.arange(300, dtype=np.float64)
    ids[7] = np.nan
    shop.write_items(item_id=ids)
    with pytest.raises(
        NotUsable, match=r"column item_id of source items can't be int64: .* a fraction would be"
    ):
        await shop.refresh(*SPACE)
    assert await shop.registry.live() == before
    keys = [None if key == 7 else key for key in range(300)]
    shop.write_items(item_id=keys, extra=np.arange(300), price=np.full(300, 3.0))
    outcome = await shop.refresh(*SPACE)
    [items] = [view for view in outcome.views if view.view == "item_profile"]
    assert (items.counts.keyless, items.written.applied) == (1, 299)
    assert any(remark.startswith("item_profile.keys.missing: ") for remark in outcome.remarks)
    _, statuses = await shop.read("item_profile", "price", [6, 7])
    assert statuses == [Status.PRESENT, Status.DEFAULTED]
