"""Every way in which a row can fall short, under every rule: what the model gets, what the answer says."""

import asyncio
import math

import pytest
from forebay.errors import NotUsable, Unavailable

from gateway.batch import Answer
from tests.support.compiled_application import HOUR_US, CompiledApplication

USABLE = ["no_rule", "defaults", "stale"]


def score(answer: Answer) -> float:
    return float(answer.scores[0].values[0])  # type: ignore[arg-type,index]


def told(answer: Answer) -> set[tuple[str, str, str, int]]:
    return {
        (part.subject, part.reason, part.action, part.count)
        for part in answer.member.degradations
        if part.stage == "hydrate"
    }


@pytest.mark.parametrize("pipeline", [*USABLE, "fail"])
async def test_nothing_is_reported_when_every_row_is_there(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.write("profile", 1, age=30, income=2, children=0)
    await application.write("now", 1, clicks=7)
    answer = await application.predict(pipeline)
    assert score(answer) == 30 + 20 + 700
    assert told(answer) == set()
    assert answer.oldest_as_of_us == application.as_of_us


@pytest.mark.parametrize("pipeline", USABLE)
async def test_a_missing_row_becomes_defaults_and_nan(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.write("now", 1, clicks=7)
    answer = await application.predict(pipeline)
    assert math.isnan(score(answer))
    assert told(answer) == {("profile", "NOT_FOUND", "DEFAULTS", 1)}


@pytest.mark.parametrize("pipeline", USABLE)
async def test_a_null_becomes_its_default_and_is_reported(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.write("profile", 1, age=None, income=2, children=0)
    await application.write("now", 1, clicks=7)
    answer = await application.predict(pipeline)
    assert score(answer) == 40 + 20 + 700
    assert told(answer) == {("profile", "NOT_FOUND", "DEFAULTS", 1)}


async def test_a_null_that_the_model_does_not_take_is_not_reported(application: CompiledApplication) -> None:
    await application.write("profile", 1, age=30, income=2, children=None)
    await application.write("now", 1, clicks=7)
    assert told(await application.predict("no_rule")) == set()


async def test_a_stale_row_is_used_when_the_rule_is_stale(application: CompiledApplication) -> None:
    await application.write("profile", 1, age=30, income=2, children=0)
    await application.write("now", 1, clicks=7)
    application.clock.advance(3601)
    answer = await application.predict("stale")
    assert score(answer) == 30 + 20 + 700
    assert told(answer) == {("profile", "STALE", "STALE_ROW", 1), ("now", "STALE", "STALE_ROW", 1)}


async def test_a_stale_row_with_a_null_is_reported_once(application: CompiledApplication) -> None:
    await application.write("profile", 1, age=None, income=2, children=0)
    application.clock.advance(3601)
    await application.write("now", 1, clicks=7)
    answer = await application.predict("stale")
    assert score(answer) == 40 + 20 + 700
    assert told(answer) == {("profile", "STALE", "STALE_ROW", 1)}
    assert told(await application.predict("defaults")) == {("profile", "STALE", "DEFAULTS", 1)}


@pytest.mark.parametrize("pipeline", ["no_rule", "defaults"])
async def test_a_stale_row_becomes_defaults_when_no_rule_allows_it(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.write("profile", 1, age=30, income=2, children=0)
    await application.write("now", 1, clicks=7, written_us=application.clock.now_us() - HOUR_US - 1)
    answer = await application.predict(pipeline)
    assert score(answer) == 30 + 20 + 300
    assert told(answer) == {("now", "STALE", "DEFAULTS", 1)}


async def test_a_row_written_just_now_is_fresh_whatever_its_generation(
    application: CompiledApplication,
) -> None:
    await application.write("profile", 1, age=30, income=2, children=0)
    application.clock.advance(3599)
    await application.write("now", 1, clicks=7)
    assert told(await application.predict("no_rule")) == set()


@pytest.mark.parametrize("pipeline", USABLE)
async def test_a_corrupt_row_becomes_defaults_and_says_so(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.write("profile", 1, age=30, income=2, children=0)
    await application.corrupt("now", 1)
    answer = await application.predict(pipeline)
    assert score(answer) == 30 + 20 + 300
    assert told(answer) == {("now", "CORRUPT", "DEFAULTS", 1)}


@pytest.mark.parametrize("fault", ["missing", "null", "stale", "corrupt"])
async def test_any_shortcoming_fails_when_the_rule_is_to_fail(
    application: CompiledApplication, fault: str
) -> None:
    await application.write("profile", 1, age=None if fault == "null" else 30, income=2, children=0)
    old_us = application.clock.now_us() - HOUR_US - 1
    if fault != "missing":
        await application.write("now", 1, clicks=7, written_us=old_us if fault == "stale" else None)
    if fault == "corrupt":
        await application.corrupt("now", 1)
    with pytest.raises(NotUsable, match="profile" if fault == "null" else "now"):
        await application.predict("fail")


async def test_returned_features_carry_the_status_that_the_model_saw(
    application: CompiledApplication,
) -> None:
    await application.write("profile", 1, age=None, income=2, children=4)
    answer = await application.predict(
        "no_rule", return_features=["profile.age", "profile.children", "now.clicks"]
    )
    found = {part.name: (part.values[0], part.statuses[0]) for part in answer.features}  # type: ignore[index]
    assert found == {"profile.age": (40, 5), "profile.children": (4, 1), "now.clicks": (3, 5)}


@pytest.mark.parametrize("pipeline", ["defaults", "stale"])
async def test_a_store_that_is_gone_is_done_without_when_every_view_has_a_rule(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.store.aclose()
    answer = await application.predict(pipeline)
    assert math.isnan(score(answer))
    assert told(answer) == {
        ("profile", "UNAVAILABLE", "DEFAULTS", 1),
        ("now", "UNAVAILABLE", "DEFAULTS", 1),
    }


@pytest.mark.parametrize("pipeline", ["no_rule", "fail"])
async def test_a_store_that_is_gone_is_unavailable_when_a_view_has_no_rule_for_it(
    application: CompiledApplication, pipeline: str
) -> None:
    await application.store.aclose()
    with pytest.raises(Unavailable):
        await application.predict(pipeline)


async def test_a_member_of_a_batch_is_told_the_age_of_its_own_rows(application: CompiledApplication) -> None:
    for user_id in (1, 2, 3):
        await application.write("profile", user_id, age=30, income=2, children=0)
    old_us = application.as_of_us - HOUR_US // 2
    await application.write("now", 1, clicks=7, written_us=old_us)
    await application.write("now", 2, clicks=7, written_us=application.as_of_us)
    answers = await asyncio.gather(*[application.predict("no_rule", user_id) for user_id in (1, 2, 3, 4)])
    assert [answer.oldest_as_of_us for answer in answers] == [
        old_us,
        application.as_of_us,
        application.as_of_us,
        0,
    ]


@pytest.mark.parametrize(("pipeline", "is_used"), [("defaults", False), ("stale", True)])
async def test_a_stale_row_counts_in_the_age_only_where_it_is_used(
    application: CompiledApplication, pipeline: str, is_used: bool
) -> None:
    await application.write("profile", 1, age=30, income=2, children=0)
    old_us = application.as_of_us - HOUR_US - 1
    await application.write("now", 1, clicks=7, written_us=old_us)
    answer = await application.predict(pipeline)
    assert answer.oldest_as_of_us == (old_us if is_used else application.as_of_us)


async def test_members_that_fail_together_have_errors_of_their_own(application: CompiledApplication) -> None:
    await application.store.aclose()
    both = [application.predict("no_rule", user_id) for user_id in (1, 2)]
    first, second = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert first is not second
    assert first.message == second.message
    first.metadata["seen"] = "by the first"
    assert second.metadata == {}
