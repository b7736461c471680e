"""Which rows a view over a stream reads after an apply: the same, where they serve; new ones, where not."""

from __future__ import annotations

import pytest

from registry.registry import Registry
from registry.rings import Ring
from registry.watermarks import Advance, ViewGeneration
from runtime.clock import ManualClock
from runtime.redis_connection import RedisConnection
from tests.support.application_texts import application, changed
from tests.support.stream_application import YAML

WINDOW = "highest: {max: rating, over: 30m, tile: 1m}"
SAME_TILES = {
    "renamed": (WINDOW, "most: {max: rating, over: 30m, tile: 1m}"),
    "shorter": (WINDOW, "highest: {max: rating, over: 10m, tile: 2m}"),
    "added": (WINDOW, WINDOW + "\n      total: {sum: rating, over: 40m, tile: 5m}"),
    "removed": (WINDOW, ""),
    "fresher": ("max_age: 1h", "max_age: 2h"),
}
OTHER_TILES = {
    "finer": ("user_trend", "over: 1h, tile: 30m", "over: 1h, tile: 15m"),
    "longer": ("item_trend", WINDOW, "highest: {max: rating, over: 62m, tile: 1m}"),
    "of another aggregate": ("item_trend", WINDOW, "highest: {min: rating, over: 30m, tile: 1m}"),
    "of another field": ("item_trend", WINDOW, "highest: {max: user_id, over: 30m, tile: 1m}"),
}


@pytest.fixture
def registry(connection: RedisConnection) -> Registry:
    return Registry(connection, "trends", ManualClock(now_us=77))


async def test_a_view_over_a_stream_has_rows_when_it_is_applied(registry: Registry) -> None:
    plan, release = await registry.apply(application(YAML), "/a")
    assert set(release.views) == {"item_trend", "user_trend", "item_now"}
    [version] = plan.ids.schemas["item_trend"]
    assert version.features == (("(ring)", "61 x 1m"), ("rating", "count sum max"))
    assert Ring.of_layout(version.features).tile_count == 61


@pytest.mark.parametrize("change", SAME_TILES)
async def test_rows_stay_when_windows_are_of_tiles_that_are_there(registry: Registry, change: str) -> None:
    before, first = await registry.apply(application(YAML), "/a")
    after, second = await registry.apply(application(changed(*SAME_TILES[change], YAML)), "/a")
    assert second.number == 2
    assert second.views == first.views
    assert after.ids.schemas["item_trend"] == before.ids.schemas["item_trend"]


@pytest.mark.parametrize("change", OTHER_TILES)
async def test_rows_are_new_when_windows_need_other_tiles(registry: Registry, change: str) -> None:
    view, old, new = OTHER_TILES[change]
    before, first = await registry.apply(application(YAML), "/a")
    after, second = await registry.apply(application(changed(old, new, YAML)), "/a")
    assert {name for name in first.views if second.views[name] != first.views[name]} == {view}
    stored = await registry.stored_generations([after.ids.views[view], after.ids.views["item_now"]])
    assert stored == [[1, 2], []]
    assert second.views[view].generation > first.views[view].generation
    [known] = before.ids.schemas[view]
    assert [version.schema_id for version in after.ids.schemas[view]] == [known.schema_id, 2]


async def test_watermarks_of_the_last_two_rings_are_kept_when_it_changes_often(registry: Registry) -> None:
    for tile in ("30m", "15m", "10m"):
        text = YAML.replace("over: 1h, tile: 30m", f"over: 1h, tile: {tile}")
        plan, release = await registry.apply(application(text), "/a")
        rows = ViewGeneration(plan.ids.views["user_trend"], release.views["user_trend"].generation)
        other = ViewGeneration(plan.ids.views["item_trend"], release.views["item_trend"].generation)
        await registry.watermarks.advance([Advance(rows, 1, 0, 5), Advance(other, 1, 0, 5)], 6)
    kept = {of.generation for of in await registry.watermarks.lowest() if of.view_id == rows.view_id}
    assert kept == {2, 3}
    assert other in await registry.watermarks.lowest()


async def test_rows_are_new_when_the_stream_is_another(registry: Registry) -> None:
    _, first = await registry.apply(application(YAML), "/a")
    clicks = YAML.replace("  ratings:\n    redis", "  clicks:\n    redis").replace(
        "stream: ratings\n", "stream: clicks\n"
    )
    _, second = await registry.apply(application(clicks), "/a")
    assert second.views["item_trend"].generation > first.views["item_trend"].generation


async def test_a_view_has_no_rows_when_it_leaves_its_stream_for_a_batch(registry: Registry) -> None:
    await registry.apply(application(YAML), "/a")
    batch = YAML.replace(
        "    stream: ratings\n    max_age: 1s\n    windows: {total: {sum: rating, over: 1h, tile: 30m}}\n",
        "    batch: {source: totals}\n    features: {total: float32}\n",
    ).replace("streams:\n", "sources: {totals: {parquet: totals.parquet}}\nstreams:\n")
    _, release = await registry.apply(application(batch), "/a")
    assert "user_trend" not in release.views
    _, release = await registry.apply(application(YAML), "/a")
    assert release.views["user_trend"].generation == 2
