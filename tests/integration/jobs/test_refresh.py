"""A refresh publishes everything it was asked for in one release, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from forebay.errors import Conflict, InvalidRequest, NotFound, NotUsable, Unavailable

from feature_store.schema import feature_view
from feature_store.types import Status
from jobs.generation_keys import GenerationKeys
from jobs.generations import RETIRED_AFTER_US
from jobs.refused import Refused

ITEMS, USERS = 300, 5
SPACE = ("item_profile", "user_taste")


async def stored_generations(shop: Any, view: str) -> list[int]:
    plan = await shop.registry.live_plan()
    keys = GenerationKeys(shop.connection, "shop", feature_view(plan, view).view_id)
    return await keys.generations()


async def test_all_batch_views_are_live_in_one_release_when_none_is_named(shop: Any) -> None:
    before = await shop.registry.live()
    outcome = await shop.refresh()
    live = await shop.registry.live()
    assert live.number == before.number + 1 == outcome.release
    assert {view.view: view.written.applied for view in outcome.views} == {
        "item_profile": ITEMS,
        "user_taste": USERS,
        "user_visits": 2,
    }
    assert live.views["item_profile"].as_of_us == shop.clock.now_us()
    assert live.who == "tester"
    assert "item_profile" in live.why


async def test_rows_are_read_back_as_the_source_has_them(shop: Any) -> None:
    await shop.refresh(*SPACE)
    prices, statuses = await shop.read("item_profile", "price", [0, 3, ITEMS])
    assert prices.tolist() == [0.0, 1.5, 9.5]
    assert statuses == [Status.PRESENT, Status.PRESENT, Status.DEFAULTED]
    assert (await shop.read("item_profile", "title", [7]))[0] == ["item 7"]
    tags, _ = await shop.read("item_profile", "tags", [3])
    assert tags.values.tolist() == [0, 1, 2]
    embedding, _ = await shop.read("user_taste", "embedding", [4])
    assert embedding.tolist() == [[4.0] * 8]


async def test_rows_are_stale_when_the_generation_is_older_than_max_age(shop: Any) -> None:
    await shop.refresh(*SPACE)
    shop.clock.advance(2 * 24 * 3600)
    _, statuses = await shop.read("item_profile", "price", [0])
    assert statuses == [Status.STALE]


async def test_newer_rows_replace_and_older_ones_do_not_when_the_view_is_upserted(shop: Any) -> None:
    await shop.refresh("user_visits")
    shop.write_visits((2, 21), (3, 30))
    shop.clock.advance(1)
    await shop.refresh("user_visits")
    visits, statuses = await shop.read("user_visits", "visits", [1, 2, 3])
    assert visits.tolist() == [10, 21, 30]
    assert statuses == [Status.PRESENT] * 3
    shop.clock.advance(-10)
    outcome = await shop.refresh("user_visits")
    assert (outcome.views[0].written.applied, outcome.views[0].written.older) == (0, 2)


async def test_record_says_what_was_done(shop: Any) -> None:
    outcome = await shop.refresh(*SPACE)
    [record] = await shop.registry.batches()
    assert (record.id, record.status, record.kind) == (outcome.batch, "done", "refresh")
    assert record.row_count == ITEMS + USERS
    assert record.views == SPACE
    assert record.oldest_event_time_us == 1_600_000_000_000_000
    assert record.newest_event_time_us == shop.clock.now_us()
    assert "300 returned" in record.checks["item_profile.rows"]


async def test_progress_ends_with_all_rows_of_each_view(shop: Any) -> None:
    await shop.refresh(*SPACE)
    loads = [told for told in shop.stages if told[1] == "load"]
    assert ("view item_profile", "load", ITEMS, ITEMS) in loads
    assert ("view user_taste", "load", USERS, USERS) in loads


async def test_refresh_is_refused_when_a_space_would_be_taken_apart(shop: Any) -> None:
    before = await shop.registry.live()
    with pytest.raises(Refused, match="item_profile shares the space taste with user_taste"):
        await shop.refresh("item_profile")
    assert await shop.registry.live() == before
    await shop.refresh("item_profile", same_space=True)


async def test_refresh_is_refused_when_a_view_is_empty(shop: Any) -> None:
    await shop.refresh(*SPACE)
    before = await shop.registry.live()
    shop.write_items(item_id=[None] * ITEMS)
    with pytest.raises(Refused, match=r"item_profile returns no rows \(300 without a key\)"):
        await shop.refresh(*SPACE)
    assert await shop.registry.live() == before
    assert (await shop.read("item_profile", "price", [2]))[0].tolist() == [1.0]


async def test_empty_view_is_published_when_that_is_allowed(shop: Any) -> None:
    none = '{sql: "select * from visits where visits > 99", publish: upsert}'
    await shop.apply(lambda text: text.replace("{source: visits, publish: upsert}", none))
    outcome = await shop.refresh("user_visits", allow_empty=True)
    assert outcome.views[0].written.total == 0


async def test_every_wrong_column_of_every_view_is_named(shop: Any) -> None:
    shop.write_items(price=None, title=range(ITEMS))
    with pytest.raises(NotUsable) as caught:
        await shop.refresh(*SPACE)
    assert "source items has no column price" in caught.value.message
    assert "column title of source items can't be string" in caught.value.message
    assert await shop.row_count() == 0


async def test_live_rows_stay_and_new_ones_are_removed_when_a_value_does_not_fit(shop: Any) -> None:
    await shop.refresh(*SPACE)
    rows, before = await shop.row_count(), await shop.registry.live()
    shop.write_items(embedding=[[1.0] * (8 if number < 250 else 7) for number in range(ITEMS)])
    with pytest.raises(NotUsable, match=r"column embedding can't be .*: a list has 7 elements, not 8"):
        await shop.refresh("user_taste", "item_profile")
    assert await shop.registry.live() == before
    assert await shop.row_count() == rows
    [failed, _] = await shop.registry.batches()
    assert failed.status == "failed"
    assert "7 elements" in failed.error


async def test_unknown_view_is_named_with_those_there_are(shop: Any) -> None:
    with pytest.raises(NotFound, match="no view nothing; refreshable are: item_profile"):
        await shop.refresh("nothing")


async def test_view_without_a_batch_source_is_refused(shop: Any) -> None:
    await shop.apply(lambda text: text.replace("    batch: {source: visits, publish: upsert}\n", ""))
    with pytest.raises(InvalidRequest, match="user_visits has no batch source"):
        await shop.refresh("user_visits")


async def test_rows_and_key_lists_of_two_generations_are_kept_when_refreshed_again(shop: Any) -> None:
    for _ in range(4):
        await shop.refresh(*SPACE)
        shop.clock.advance(RETIRED_AFTER_US / 1e6)
    assert await stored_generations(shop, "item_profile") == [3, 4]
    assert await shop.row_count() == 2 * (ITEMS + USERS)


async def test_replaced_generation_is_left_alone_when_servers_may_still_read_it(shop: Any) -> None:
    for _ in range(4):
        await shop.refresh(*SPACE)
        shop.clock.advance(1)
    assert await stored_generations(shop, "item_profile") == [1, 2, 3, 4]


async def test_older_refresh_is_dropped_when_a_newer_one_was_published_meanwhile(shop: Any) -> None:
    await shop.refresh(*SPACE)
    taken = shop.registry.begin_batch

    async def overtaken(*views: str) -> Any:
        batch = await taken(*views)
        shop.registry.begin_batch = taken
        await shop.refresh(*SPACE)
        return batch

    shop.registry.begin_batch = overtaken
    with pytest.raises(Conflict, match="newer refresh of view item_profile"):
        await shop.refresh(*SPACE)
    assert (await shop.registry.live()).views["item_profile"].generation == 3
    assert await stored_generations(shop, "item_profile") == [1, 3]


async def test_published_rows_stay_when_the_answer_to_the_publication_is_lost(shop: Any) -> None:
    publish = shop.registry.publish

    async def lost(*arguments: Any, **named: Any) -> Any:
        await publish(*arguments, **named)
        raise Unavailable("the connection is gone")

    shop.registry.publish = lost
    with pytest.raises(Unavailable):
        await shop.refresh(*SPACE)
    assert (await shop.read("item_profile", "price", [2]))[0].tolist() == [1.0]


async def test_nothing_applied_is_said_when_there_is_no_application(shop: Any) -> None:
    await shop.connection.execute("FLUSHALL")
    with pytest.raises(NotUsable, match="no application shop is applied"):
        await shop.refresh()


async def test_rollback_brings_back_the_generation_before_with_all_of_its_space(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.build_index()
    shop.write_items(price=[100.0] * ITEMS)
    second = await shop.refresh(*SPACE)
    assert second.indexes == {"items": "2"}
    release = await shop.rollback.run("item_profile", same_space=False)
    assert {name: release.views[name].generation for name in SPACE} == {"item_profile": 1, "user_taste": 1}
    assert release.indexes["items"].version == "1"
    assert (await shop.read("item_profile", "price", [2]))[0].tolist() == [1.0]
    with pytest.raises(NotUsable, match="no earlier generation"):
        await shop.rollback.run("item_profile", same_space=False)


async def test_rollback_is_refused_when_rows_are_written_in_place(shop: Any) -> None:
    await shop.refresh("user_visits")
    with pytest.raises(NotUsable, match="written in place"):
        await shop.rollback.run("user_visits", same_space=False)


async def test_refresh_after_a_rollback_is_live(shop: Any) -> None:
    for _ in range(2):
        await shop.refresh(*SPACE)
    await shop.rollback.run("item_profile", same_space=False)
    await shop.refresh(*SPACE)
    assert (await shop.registry.live()).views["item_profile"].generation == 3


async def test_nothing_is_left_when_the_job_is_cancelled_while_it_loads(shop: Any) -> None:
    await shop.refresh("item_profile", same_space=True)
    shop.write_users(25_000)
    rows, before = await shop.row_count(), await shop.registry.live()
    job = asyncio.create_task(shop.refresh("user_taste", same_space=True))
    await shop.halfway.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert await shop.registry.live() == before
    assert await shop.row_count() == rows
    assert (await shop.registry.batches())[0].status == "failed"
