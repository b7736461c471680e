"""A refresh that breaks a check publishes nothing, says which and records it; one of a part reads what is
new."""

from __future__ import annotations

from typing import Any

import pytest
from forebay.errors import Conflict, InvalidRequest

from feature_store.types import Status
from jobs.refused import Refused

ITEMS, USERS = 300, 5
SPACE = ("item_profile", "user_taste")
SOURCE = "{source: items, publish: swap}"


def checked(checks: str) -> Any:
    return lambda text: text.replace(SOURCE, f"{{source: items, checks: {checks}}}")


async def refused(shop: Any, *views: str, **options: Any) -> tuple[str, Any]:
    """Refresh, which must be refused and leave everything as it was; return why, and the record."""
    rows, before = await shop.row_count(), await shop.registry.live()
    with pytest.raises(Refused) as caught:
        await shop.refresh(*views, **options)
    assert await shop.registry.live() == before
    assert await shop.row_count() == rows
    record = (await shop.registry.batches())[0]
    assert record.status == "refused"
    assert record.error == caught.value.message
    return caught.value.message, record


async def test_view_that_shrinks_to_under_half_is_refused_unless_allowed(shop: Any) -> None:
    await shop.refresh(*SPACE)
    shop.write_users(2)
    message, record = await refused(shop, *SPACE)
    assert "user_taste.rows.shrink: 2 rows where 5 are live (-60.0%); at most 50% fewer" in message
    assert "--allow-shrink" in message
    assert record.checks["user_taste.rows.shrink"].startswith("broken: ")
    await shop.refresh(*SPACE, allow_shrink=True)
    done = (await shop.registry.batches())[0]
    assert done.checks["user_taste.rows.shrink"].startswith("accepted: ")
    assert done.figures["user_taste"].rows == 2


async def test_every_broken_check_of_the_values_is_told_and_the_rows_are_removed(shop: Any) -> None:
    await shop.apply(checked("{nulls: {price: 0.1, title: 0.1}, ranges: {price: [0, 100], tags: {max: 1}}}"))
    shop.write_items(price=[None] * 60 + [float(number) for number in range(ITEMS - 60)])
    message, record = await refused(shop, *SPACE)
    assert "3 checks are broken" in message
    assert "item_profile.nulls.price: 60 of 300 values are null (20.0%); at most 10.0%" in message
    assert "item_profile.ranges.price: values from 0 to 239; allowed from 0 to 100" in message
    assert "item_profile.ranges.tags: values from 0 to 2; allowed to 1" in message
    assert record.checks["item_profile.nulls.title"].startswith("ok: 0 of 300")
    assert record.figures["item_profile"].nulls["price"] == 60
    broken = [name for name, text in record.checks.items() if text.startswith("broken")]
    await shop.refresh(*SPACE, accepted=frozenset(broken))


async def test_value_that_is_wrong_is_never_written_when_rows_are_upserted(shop: Any) -> None:
    limited = "{source: visits, publish: upsert, checks: {ranges: {visits: [0, 100]}}}"
    await shop.apply(lambda text: text.replace("{source: visits, publish: upsert}", limited))
    await shop.refresh("user_visits")
    shop.write_visits((1, 11), (2, 5_000))
    shop.clock.advance(1)
    message, _ = await refused(shop, "user_visits")
    assert "user_visits.ranges.visits: values from 11 to 5000" in message
    assert (await shop.read("user_visits", "visits", [1, 2]))[0].tolist() == [10, 20]


async def test_alarms_are_remarks_of_a_refresh_that_is_published(shop: Any) -> None:
    await shop.refresh(*SPACE)
    shop.write_users(50)
    outcome = await shop.refresh(*SPACE)
    [remark] = [text for text in outcome.remarks if "rows.growth" in text]
    assert remark.startswith("user_taste.rows.growth: 50 rows where 5 are live (+900.0%)")


async def test_live_rows_are_counted_again_when_their_record_is_gone(shop: Any) -> None:
    await shop.refresh(*SPACE)
    await shop.connection.execute("DEL", "forebay:{shop}:batches")
    shop.write_users(1)
    message, _ = await refused(shop, *SPACE)
    assert "1 rows where 5 are live" in message


async def test_refresh_is_refused_when_the_store_has_no_room_for_it(shop: Any) -> None:
    await shop.refresh(*SPACE)
    shop.write_users(200_000)
    info = (await shop.connection.execute("INFO", "memory")).decode()
    used = int(info.partition("used_memory:")[2].split()[0])
    await shop.connection.execute("CONFIG", "SET", "maxmemory", used + (8 << 20))
    try:
        message, _ = await refused(shop, *SPACE)
    finally:
        await shop.connection.execute("CONFIG", "SET", "maxmemory", 0)
    assert "the rows of view user_taste need about" in message


async def test_only_rows_that_are_new_are_read_since_the_last_batch(shop: Any) -> None:
    await with_events(shop)
    write_events(shop, (1, 10, "2023-01-01"), (2, 20, "2023-01-02"))
    first = await shop.refresh("user_visits", since="last")
    assert first.views[0].written.applied == 2
    write_events(shop, (1, 99, "2023-01-01"), (2, 21, "2023-01-02"), (3, 30, "2023-01-03"))
    shop.clock.advance(1)
    second = await shop.refresh("user_visits", since="last")
    assert second.views[0].counts.returned == 2
    visits, statuses = await shop.read("user_visits", "visits", [1, 2, 3])
    assert visits.tolist() == [10, 21, 30]
    assert statuses == [Status.PRESENT] * 3
    record = (await shop.registry.batches())[0]
    assert record.figures["user_visits"].since_us == 1_672_617_600_000_000


async def test_nothing_new_is_no_failure_when_a_part_is_read(shop: Any) -> None:
    await with_events(shop)
    write_events(shop, (1, 10, "2023-01-01"))
    await shop.refresh("user_visits")
    outcome = await shop.refresh("user_visits", since="2023-02-01")
    assert outcome.views[0].written.total == 0
    assert (await shop.read("user_visits", "visits", [1]))[0].tolist() == [10]


async def test_all_rows_are_read_when_the_definition_has_changed_since(shop: Any) -> None:
    await with_events(shop)
    write_events(shop, (1, 10, "2023-01-01"), (2, 20, "2023-01-02"))
    await shop.refresh("user_visits")
    doubled = '{sql: "select user_id, 2 * visits as visits, event_time from visits", publish: upsert}'
    await with_events(shop, doubled)
    write_events(shop, (1, 10, "2023-01-01"), (2, 20, "2023-01-02"))
    shop.clock.advance(1)
    outcome = await shop.refresh("user_visits", since="last")
    assert outcome.views[0].written.applied == 2


async def test_part_is_refused_when_the_view_is_swapped_or_has_no_event_time(shop: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await shop.refresh("user_visits", *SPACE, since="last")
    lines = caught.value.message.splitlines()
    assert "user_visits can't be refreshed since a time: its rows carry no event time" in lines[0]
    assert "item_profile can't be refreshed since a time: it is swapped" in lines[1]


async def test_nothing_is_published_or_removed_when_another_took_the_batch_over(shop: Any) -> None:
    before = await shop.registry.live()
    shop.write_users(25_000)
    job = shop.refresh("user_taste", same_space=True)
    publish = shop.registry.publish

    async def taken_over(*arguments: Any, **named: Any) -> Any:
        batch = named["held"].batch
        assert await shop.registry.hold_batch(batch, named["held"].holder, "another", 60)
        return await publish(*arguments, **named)

    shop.registry.publish = taken_over
    with pytest.raises(Conflict, match="was taken over"):
        await job
    assert await shop.registry.live() == before
    assert await shop.row_count() == 25_000
    assert (await shop.registry.batches())[0].status == "running"


async def with_events(shop: Any, batch: str = "{source: visits, publish: upsert}") -> None:
    def change(text: str) -> str:
        text = text.replace("{csv: visits.csv}", "{csv: visits.csv, event_time: event_time}")
        return text.replace("{source: visits, publish: upsert}", batch)

    write_events(shop, (1, 1, "2022-01-01"))
    await shop.apply(change)


def write_events(shop: Any, *rows: tuple[int, int, str]) -> None:
    lines = "".join(f"{user},{count},{day} 00:00:00\n" for user, count, day in rows)
    (shop.root / "visits.csv").write_text("user_id,visits,event_time\n" + lines)
