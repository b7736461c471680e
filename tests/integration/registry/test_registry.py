"""The registry on real servers: applying, publishing, batches, and records that it can't trust."""

from __future__ import annotations

import asyncio

import pytest
from forebay.errors import Conflict, Corrupt, InvalidRequest, NotFound, NotUsable

from registry.batch import BatchRecord
from registry.registry import Registry
from registry.release import Release
from runtime.clock import ManualClock
from runtime.redis_connection import RedisConnection
from tests.support.application_texts import MOVIES, application, changed

UPSERT = changed("batch: {source: taste, publish: swap}", "batch: {source: taste, publish: upsert}")
POINTER = "forebay:{movies}:release"


@pytest.fixture
def registry(connection: RedisConnection) -> Registry:
    return Registry(connection, "movies", ManualClock(now_us=77))


async def test_nothing_is_live_when_nothing_was_applied(registry: Registry) -> None:
    assert await registry.live() is None
    assert await registry.live_plan() is None
    assert await registry.newest_plan() is None
    assert await registry.releases() == []
    with pytest.raises(NotUsable, match="forebay apply"):
        await registry.publish(lambda release: release)
    with pytest.raises(NotUsable, match="forebay apply"):
        await registry.begin_batch("user_taste")
    with pytest.raises(NotFound):
        await registry.plan(1)


async def test_first_plan_and_release_are_numbered_one_when_applied(registry: Registry) -> None:
    plan, release = await registry.apply(application(), "/apps/movies", who="ann", why="first")

    assert (plan.number, plan.root, plan.application) == (1, "/apps/movies", application())
    assert set(plan.ids.entities) == {"user", "movie"}
    assert [version.schema_id for version in plan.ids.schemas["user_taste"]] == [1]
    assert (release.number, release.parent, release.plan, release.at_us) == (1, 0, 1, 77)
    assert (release.who, release.why) == ("ann", "first")
    assert release.views == {}
    assert release.models["ranker"].champion == "1"
    assert await registry.plan(1) == plan
    assert await registry.live() == release
    assert await registry.live_plan() == plan


async def test_nothing_new_is_made_when_the_same_is_applied_again(registry: Registry) -> None:
    first = await registry.apply(application(), "/a")

    assert await registry.apply(application(), "/a") == first
    _, elsewhere = await registry.apply(application(), "/b")
    assert (elsewhere.number, elsewhere.plan) == (2, 2)


async def test_live_traffic_stays_when_applied_without_set_traffic(registry: Registry) -> None:
    await registry.apply(application(), "/a", models={"ranker": "3"})
    await registry.publish(lambda release: release.with_model("ranker", "4"))

    _, kept = await registry.apply(application(), "/a", models={"ranker": "5"})
    assert kept.models["ranker"].champion == "4"
    _, moved = await registry.apply(application(), "/a", models={"ranker": "5"}, set_traffic=True)
    assert moved.models["ranker"].champion == "5"
    assert (moved.number, moved.plan) == (3, 1)


async def test_model_gets_its_version_when_one_is_there_at_a_later_apply(registry: Registry) -> None:
    text = changed("    traffic: {champion: 1}", "    # newest")
    _, without = await registry.apply(application(text), "/a")
    assert without.models == {}

    plan, with_version = await registry.apply(application(text), "/a", models={"ranker": "1"})
    assert plan.number == 1
    assert with_version.models["ranker"].champion == "1"


async def test_generation_is_given_and_kept_when_view_is_written_in_place(registry: Registry) -> None:
    _, release = await registry.apply(application(UPSERT), "/a")
    generation = release.views["user_taste"].generation

    _, later = await registry.apply(application(changed("top: 10", "top: 5", UPSERT)), "/a")
    batch = await registry.begin_batch("user_taste")

    assert later.views["user_taste"].generation == generation == batch.generation


async def test_entries_are_dropped_when_their_names_leave_the_application(registry: Registry) -> None:
    await registry.apply(application(), "/a")
    await registry.publish(
        lambda release: release.with_view("user_taste", 1, 2, "b").with_view("movie_profile", 1)
    )
    smaller = changed("views:\n", "views:\n  other:\n    entity: user\n    features: {a: int32}\n")
    smaller = smaller[: smaller.index("indexes:")].replace("  user_taste:", "  taste_of_user:")

    plan, release = await registry.apply(application(smaller), "/a")

    assert set(release.views) == {"movie_profile", "other"}
    assert release.models == {}
    assert "user_taste" in plan.ids.views


async def test_ids_and_layouts_come_back_when_a_name_does(registry: Registry) -> None:
    first, _ = await registry.apply(application(), "/a")
    without = MOVIES[: MOVIES.index("views:")]
    await registry.apply(application(without), "/a")
    wider = changed("      title: string\n", "      title: string\n      budget: float64\n")
    again, _ = await registry.apply(application(wider), "/a")
    back, _ = await registry.apply(application(), "/a")

    assert (again.number, back.number) == (3, 4)
    assert again.ids.views == first.ids.views
    assert again.ids.entities == first.ids.entities
    assert [version.schema_id for version in again.ids.schemas["movie_profile"]] == [1, 2]
    assert [version.schema_id for version in back.ids.schemas["movie_profile"]] == [2, 1]


async def test_ids_differ_when_two_applications_use_the_same_names(connection: RedisConnection) -> None:
    other_text = changed("app: movies", "app: films")
    movies, _ = await Registry(connection, "movies", ManualClock()).apply(application(), "/a")
    films, _ = await Registry(connection, "films", ManualClock()).apply(application(other_text), "/a")

    assert not set(movies.ids.views.values()) & set(films.ids.views.values())
    assert not set(movies.ids.entities.values()) & set(films.ids.entities.values())


async def test_apply_is_refused_when_old_rows_would_not_survive_it(registry: Registry) -> None:
    await registry.apply(application(UPSERT), "/a")
    text = changed("{user_id: int64}", "{user_id: string}", UPSERT)
    text = changed('seen: "int64[]"', 'seen: "string"', text)
    text = changed(", exclude: user_taste.seen", "", text)

    with pytest.raises(NotUsable) as error:
        await registry.apply(application(text), "/a")

    assert "entities.user.key: was user_id int64 and is now user_id string" in error.value.message
    assert "views.user_taste.features.seen.dtype: was int64[] and is now string" in error.value.message
    assert await registry.live_number() == 1


async def test_apply_is_refused_when_file_is_of_another_application(registry: Registry) -> None:
    with pytest.raises(InvalidRequest, match="'films'"):
        await registry.apply(application(changed("app: movies", "app: films")), "/a")


async def test_every_change_is_there_when_many_publish_at_once(registry: Registry) -> None:
    await registry.apply(application(), "/a")

    def bump(release: Release) -> Release:
        live = release.views.get("user_taste")
        return release.with_view("user_taste", 1 if live is None else live.generation + 1)

    releases = await asyncio.gather(*(registry.publish(bump) for _ in range(10)))

    live = await registry.live()
    assert live is not None
    assert live.views["user_taste"].generation == 10
    assert sorted(release.number for release in releases) == list(range(2, 12))
    assert [release.number for release in await registry.releases(3)] == [11, 10, 9]
    assert (await registry.release(5)).parent == 4


async def test_both_are_live_in_turn_when_two_apply_at_once(registry: Registry) -> None:
    texts = [changed("top: 10", "top: 5"), changed("top: 10", "top: 6")]

    results = await asyncio.gather(*(registry.apply(application(text), "/a") for text in texts))

    assert sorted(plan.number for plan, _ in results) == [1, 2]
    assert sorted(release.number for _, release in results) == [1, 2]
    newest = await registry.newest_plan()
    assert newest == max((plan for plan, _ in results), key=lambda plan: plan.number)


async def test_conflict_is_raised_when_others_always_come_first(
    registry: Registry, connection: RedisConnection
) -> None:
    await registry.apply(application(), "/a")
    intruder = iter(range(1, 1000))

    async def intrude() -> None:
        await registry.publish(lambda release: release.with_index("movies", str(next(intruder))))

    class Overtaken(Registry):
        async def plan(self, number: int):  # type: ignore[no-untyped-def]
            await intrude()
            return await super().plan(number)

    with pytest.raises(Conflict, match="try again"):
        await Overtaken(connection, "movies", ManualClock()).publish(
            lambda release: release.with_model("ranker", "9")
        )


async def test_live_release_is_returned_when_publishing_changes_nothing(registry: Registry) -> None:
    _, first = await registry.apply(application(), "/a")

    assert await registry.publish(lambda release: release, why="nothing") == first


async def test_publish_is_refused_when_draft_names_what_the_plan_does_not_have(registry: Registry) -> None:
    await registry.apply(application(), "/a")

    with pytest.raises(NotUsable, match=r"views\.gone, indexes\.lost"):
        await registry.publish(lambda release: release.with_view("gone", 1).with_index("lost", "1"))


async def test_old_releases_are_dropped_when_there_are_many(
    registry: Registry, connection: RedisConnection
) -> None:
    _, first = await registry.apply(application(), "/a")
    await connection.execute("SET", POINTER, 1000)
    await connection.execute(
        "SET", f"{POINTER}:1000", first.numbered(1000, at_us=1, who="", why="").to_json()
    )

    release = await registry.publish(lambda release: release.with_view("user_taste", 1))

    assert release.number == 1001
    with pytest.raises(NotFound, match="the last 1000 are kept"):
        await registry.release(1)


async def test_numbers_and_generations_rise_when_batches_begin(registry: Registry) -> None:
    await registry.apply(application(), "/a")

    batches = [await registry.begin_batch("user_taste", "movie_profile") for _ in range(50)]
    single = await registry.begin_batch("user_taste")

    numbers = [batch.number for batch in batches]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 1_600_000_000_000_000
    assert [batch.generations["user_taste"] for batch in batches] == list(range(1, 51))
    assert single.generation == 51
    with pytest.raises(NotFound, match="its views: movie_profile, user_taste"):
        await registry.begin_batch("user_tasts")


async def test_number_rises_by_one_when_the_servers_clock_went_back(
    registry: Registry, connection: RedisConnection
) -> None:
    await registry.apply(application(), "/a")
    await connection.execute("SET", "forebay:{movies}:batch", 8_000_000_000_000_000)

    assert (await registry.begin_batch("user_taste")).number == 8_000_000_000_000_001


async def test_newest_records_are_kept_when_batches_finish(
    registry: Registry, connection: RedisConnection
) -> None:
    for number in range(1, 1006):
        await registry.finish_batch(BatchRecord(id=f"b{number}", number=number, kind="refresh"))
    await registry.finish_batch(
        BatchRecord(
            id="b1005", number=1005, kind="refresh", status="done", row_count=3, checks={"rows": "ok"}
        )
    )

    newest = await registry.batches(2)

    assert [(record.id, record.status) for record in newest] == [("b1005", "done"), ("b1004", "running")]
    assert newest[0].row_count == 3
    assert newest[0].checks == {"rows": "ok"}
    assert len(await registry.batches(5000)) == 1000
    assert await connection.execute("HLEN", "forebay:{movies}:batches") == 1000


async def test_index_versions_rise_by_index(registry: Registry) -> None:
    assert [await registry.next_index_version("movies") for _ in range(3)] == ["1", "2", "3"]
    assert await registry.next_index_version("users") == "1"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (POINTER, "one"),
        (POINTER, "7"),
        (f"{POINTER}:1", "{"),
        (f"{POINTER}:1", '{"number": 1, "app": "films", "plan": 1}'),
        (f"{POINTER}:1", '{"number": 1, "app": "movies", "plan": 7}'),
        ("forebay:{movies}:plan:1", '{"number": 1}'),
    ],
)
async def test_corrupt_is_raised_when_a_record_cannot_be_right(
    registry: Registry, connection: RedisConnection, key: str, value: str
) -> None:
    await registry.apply(application(), "/a")
    await connection.execute("SET", key, value)

    with pytest.raises(Corrupt, match=r"forebay:\{movies\}|release 7|plan 7"):
        await registry.live_plan()


async def test_corrupt_is_raised_when_a_key_holds_another_type(
    registry: Registry, connection: RedisConnection
) -> None:
    await connection.execute("RPUSH", POINTER, "x")
    await connection.execute("SET", "forebay:{movies}:generation", "x")

    with pytest.raises(Corrupt, match="WRONGTYPE"):
        await registry.live()
    with pytest.raises(Corrupt, match="WRONGTYPE"):
        await registry.next_index_version("movies") and await registry.apply(application(UPSERT), "/a")
