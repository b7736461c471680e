"""The candidates that pipelines fall back on: read by a refresh, carried by its release."""

from __future__ import annotations

from typing import Any

import pytest
from forebay.errors import InvalidRequest, NotUsable

from registry.release import FallbackRelease

FALLBACK = """\
models:
  ranker: {{repository: models, inputs: {{x: [item_profile.price]}}, outputs: {{score: y}}}}
pipelines:
  items:
    entities: [user]
    hydrate: [user_taste]
    retrieve: {{index: items, query: user_taste.embedding, k: 3}}
    hydrate_candidates: [item_profile]
    predict: ranker
    degrade: {{retrieve: {{candidates: {{{query}}}}}}}
"""


async def fallback_keys(shop: Any, query: str) -> tuple[int | str, ...]:
    await shop.apply(lambda text: text + FALLBACK.format(query=query))
    await shop.refresh()
    release = await shop.registry.live()
    assert release.fallbacks["items"].as_of_us == shop.clock.now_us()
    return release.fallbacks["items"].keys


async def test_fallback_candidates_are_those_that_the_query_returns(shop: Any) -> None:
    sql = "select item_id from items where item_id < 6 order by price desc"
    assert await fallback_keys(shop, f'sql: "{sql}"') == (5, 4, 3, 2, 1, 0)
    assert len(await fallback_keys(shop, "source: items")) == 300


async def test_no_more_fallback_candidates_are_kept_than_may_be_and_each_once(shop: Any) -> None:
    sql = "select a.item_id from items a, items b"
    assert len(set(await fallback_keys(shop, f'sql: "{sql}"'))) == 300
    many = "select item_id * 1000 + n as item_id from items, range(10) as t(n)"
    assert len(await fallback_keys(shop, f'sql: "{many}"')) == 1000


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select item_id from items where price < 0", "returns no rows"),
        ("select price from items", "lacks item_id"),
        ("select item_id, price from items", "returns price"),
        ("select title as item_id from items", "column item_id"),
        ("select nothing from items", "nothing"),
    ],
)
async def test_a_refresh_says_what_is_wrong_with_the_fallback_candidates(
    shop: Any, sql: str, says: str
) -> None:
    await shop.apply(lambda text: text + FALLBACK.format(query=f'sql: "{sql}"'))
    before = await shop.registry.live()
    with pytest.raises((InvalidRequest, NotUsable), match=says) as caught:
        await shop.refresh()
    assert "pipelines.items.degrade.retrieve.candidates" in caught.value.message
    assert await shop.registry.live() == before


async def test_a_release_is_not_made_for_fallback_candidates_that_stay_the_same(shop: Any) -> None:
    await fallback_keys(shop, "source: items")
    release = await shop.registry.live()
    same = {"items": FallbackRelease(release.fallbacks["items"].keys, 12345)}
    after = await shop.registry.publish(lambda live: live.with_fallbacks(same))
    assert after.number == release.number
