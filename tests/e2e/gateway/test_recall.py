"""Answers that are given again, over a real gateway."""

from __future__ import annotations

import asyncio

import forebay
import numpy as np
import pytest

from tests.support.paused_store import paused
from tests.support.served_application import ServedApplication

FRESH_S = 0.2


def scores(answer: forebay.Answer) -> list[float]:
    return [item.scores["score"] for item in answer]


def test_answer_comes_from_the_cache_when_it_is_asked_for_again(client: forebay.Client) -> None:
    first = client.predict("cached_items", user_id=3)
    again = [client.predict("cached_items", user_id=3) for _ in range(3)]
    assert first.provenance.cache == "MISS"
    assert first.provenance.cache_age_us == 0
    assert [stage.stage for stage in first.provenance.stages] == [
        "admit",
        "recall",
        *["hydrate", "retrieve", "hydrate_candidates", "assemble", "predict", "select"],
    ]
    ages_us = [answer.provenance.cache_age_us for answer in again]
    assert 0 < ages_us[0] < ages_us[1] < ages_us[2] < 60_000_000
    for answer in again:
        assert answer.provenance.cache == "HIT"
        assert [stage.stage for stage in answer.provenance.stages] == ["admit", "recall"]
        assert answer.provenance.release == first.provenance.release
        assert answer.provenance.model_version == first.provenance.model_version
        assert answer.provenance.oldest_as_of_us == first.provenance.oldest_as_of_us
        assert (scores(answer), answer.degradations) == (scores(first), first.degradations)
    assert len({answer.provenance.prediction_id for answer in (first, *again)}) == 4


def test_requests_that_differ_only_in_form_share_an_answer(client: forebay.Client) -> None:
    assert client.predict("cached_items", user_id=4).provenance.cache == "MISS"
    assert client.predict("cached_items", user_id="4").provenance.cache == "HIT"
    assert client.predict("cached_items", user_id=4, top=5).provenance.cache == "HIT"
    assert client.predict("cached_items", user_id=4, top=4).provenance.cache == "MISS"
    answer = client.predict("cached_items", user_id=4, return_features=["item_profile.price"])
    assert answer.provenance.cache == "MISS"


def test_declared_bins_share_an_answer(client: forebay.Client) -> None:
    first = client.predict("cached_risk", user_id=5, amount=101.0)
    other = client.predict("cached_risk", user_id=5, amount=109.9)
    assert first.provenance.cache == "MISS"
    assert other.provenance.cache in ("HIT", "STALE"), "where the machine took 200 ms, it is stale already"
    assert client.predict("cached_risk", user_id=5, amount=110.0).provenance.cache == "MISS"


async def test_stale_answer_is_given_while_it_is_made_anew(tiny: ServedApplication) -> None:
    async with forebay.aio.Client(tiny.gateway, timeout_s=5.0) as client:

        async def ask() -> tuple[str, int]:
            provenance = (await client.predict("cached_risk", user_id=6, amount=1.0)).provenance
            return provenance.cache, provenance.cache_age_us

        assert await ask() == ("MISS", 0)
        await asyncio.sleep(FRESH_S * 1.2)
        outcome, age_us = await ask()
        assert outcome == "STALE"
        assert age_us > FRESH_S * 1e6
        async with asyncio.timeout(30):
            while outcome != "HIT":
                outcome, age_us = await ask()
        assert age_us < FRESH_S * 1e6


async def test_one_answer_is_made_when_many_ask_at_once(tiny: ServedApplication) -> None:
    async with forebay.aio.Client(tiny.gateway, timeout_s=5.0) as client:
        for user_id in range(11, 20):  # a busy gateway may take in only one of them in that time
            with paused(tiny.redis_url):
                calls = [
                    asyncio.create_task(client.predict("cached_items", user_id=user_id)) for _ in range(40)
                ]
                await asyncio.sleep(0.2)
            answers = await asyncio.gather(*calls)
            outcomes = [answer.provenance.cache for answer in answers]
            assert outcomes.count("MISS") == 1
            if "JOINED" in outcomes:
                break
    assert outcomes.count("JOINED") >= 1
    assert set(outcomes) <= {"MISS", "JOINED", "HIT"}
    assert len({tuple(scores(answer)) for answer in answers}) == 1
    for answer in answers:
        if answer.provenance.cache == "JOINED":
            assert 0 < answer.provenance.cache_age_us < 5_000_000


def test_answers_fall_when_a_row_that_they_used_is_written(client: forebay.Client) -> None:
    first = client.predict("cached_items", user_id=8)
    assert client.predict("cached_items", user_id=8).provenance.cache == "HIT"
    best = int(first[0].entity["item_id"])
    client.write("item_now", item_id=[best], clicks=[1_000], rate=[0.5])
    after = client.predict("cached_items", user_id=8)
    assert after.provenance.cache == "MISS"
    assert after[0].entity["item_id"] == best
    assert scores(after)[0] == pytest.approx(scores(first)[0] + 250.0)
    client.write("item_now", item_id=[999_999], clicks=[1], rate=[0.5])
    assert client.predict("cached_items", user_id=8).provenance.cache == "HIT"


def test_trace_tells_of_a_hit_what_its_caller_was_told(
    tiny: ServedApplication, client: forebay.Client
) -> None:
    client.predict("cached_items", user_id=9)
    answer = client.predict("cached_items", user_id=9)
    drawn = tiny.forebay("trace", answer.provenance.prediction_id, "--admin", tiny.admin)
    assert drawn.returncode == 0, drawn.stderr
    assert "cache HIT" in drawn.stdout
    assert "item_now" in drawn.stdout
    listed = tiny.forebay("trace", answer.provenance.prediction_id, "--admin", tiny.admin, "--json")
    assert answer.provenance.prediction_id in listed.stdout


def test_features_of_an_answer_come_again_as_they_were(client: forebay.Client) -> None:
    wanted = ["item_profile.title", "item_profile.vector", "user_profile.seen"]
    first = client.predict("cached_items", user_id=10, return_features=wanted)
    again = client.predict("cached_items", user_id=10, return_features=wanted)
    assert again.provenance.cache == "HIT"
    for one, other in zip(first, again, strict=True):
        assert one.features["item_profile.title"] == other.features["item_profile.title"]
        np.testing.assert_array_equal(
            one.features["item_profile.vector"], other.features["item_profile.vector"]
        )
        assert list(one.features["user_profile.seen"]) == list(other.features["user_profile.seen"])
