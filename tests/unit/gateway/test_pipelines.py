"""Pipelines of several entities, and of candidates whose views' keys take fields of the request."""

import asyncio
import math

import numpy as np
import pytest
from forebay.errors import InvalidRequest, NotUsable

from tests.support.pipeline_application import PipelineApplication, ranked, scores, told


async def test_one_row_is_scored_of_all_the_entities_that_a_request_names(
    pipelines: PipelineApplication,
) -> None:
    await pipelines.write_rows("user_view", user_id=[1, 2], age=[30, 50])
    await pipelines.write_rows("shop_view", shop=["a:b", "c"], size=[100, 200])
    await pipelines.write_rows("visit_view", shop=["a:b", "c"], user_id=[1, 1], visits=[1000, 2000])
    asked = [(1, "a:b"), (1, "c"), (2, "c")]
    answers = await asyncio.gather(
        *[pipelines.ask("visit_of_user", user_id=user, shop=shop) for user, shop in asked]
    )
    assert [ranked(answer) for answer in answers] == [[(user, shop)] for user, shop in asked]
    assert [scores(answer) for answer in answers[:2]] == [[1130.0], [2230.0]]
    assert math.isnan(scores(answers[2])[0])
    assert told(answers[2]) == [("hydrate", "visit_view", "NOT_FOUND", "DEFAULTS", 1)]


async def test_a_shared_key_field_is_one_input_and_each_is_needed(pipelines: PipelineApplication) -> None:
    assert list(pipelines.release.pipeline("visit_of_user").inputs.fields) == ["user_id", "shop"]
    with pytest.raises(InvalidRequest, match=r"inputs\.shop"):
        await pipelines.ask("visit_of_user", user_id=1)


async def test_each_candidate_is_read_with_its_own_requests_fields(pipelines: PipelineApplication) -> None:
    users = [1, 2, 3]
    await pipelines.write_rows("user_view", user_id=users, taste=[[1, 0], [-1, 0], [1, 0]])
    pairs = [(item, user) for user in (1, 2) for item in range(1, 6)]
    await pipelines.write_rows(
        "affinity_view",
        item_id=[item for item, _ in pairs],
        user_id=[user for _, user in pairs],
        fondness=[100 * user + (item * 7) % 5 for item, user in pairs],
    )
    answers = await asyncio.gather(*[pipelines.ask("fond_items", user_id=user) for user in users])
    assert [ranked(answer) for answer in answers] == [[4, 3, 5], [2, 1, 3], [3, 4, 5]]
    assert [scores(answer) for answer in answers] == [
        [103.0, 101.0, 100.0],
        [204.0, 202.0, 201.0],
        [-1.0, -1.0, -1.0],
    ]
    absent = ("hydrate_candidates", "affinity_view", "NOT_FOUND", "DEFAULTS", 3)
    assert [absent in told(answer) for answer in answers] == [False, False, True]


async def test_a_candidate_without_a_required_row_of_its_own_is_dropped(
    pipelines: PipelineApplication,
) -> None:
    await pipelines.write_rows("affinity_view", item_id=[7, 8, 9], user_id=[1, 2, 1], fondness=[5, 6, 7])
    await pipelines.write_rows("item_view", item_id=[7, 8, 9], price=[1, 2, 3])
    first, second = await asyncio.gather(
        *[
            pipelines.ask(
                "known_items", {"item_id": [7, 8, 9, 9]}, user_id=user, return_features=["item_view.price"]
            )
            for user in (1, 2)
        ]
    )
    assert (ranked(first), scores(first)) == ([9, 9, 7], [7.0, 7.0, 5.0])
    assert (ranked(second), scores(second)) == ([8], [6.0])
    assert np.asarray(first.features[0].values).tolist() == [3.0, 3.0, 1.0]
    assert ("hydrate_candidates", "affinity_view", "NOT_FOUND", "DROPPED", 1) in told(first)
    assert ("hydrate_candidates", "affinity_view", "NOT_FOUND", "DROPPED", 3) in told(second)


async def test_a_composite_candidate_lends_its_fields_to_views_of_other_keys(
    pipelines: PipelineApplication,
) -> None:
    await pipelines.write_rows("item_view", item_id=[1, 2], price=[10, 20])
    await pipelines.write_rows(
        "offer_view", item_id=[1, 1, 2], seller=["x", "y:z", "x"], rebate=[0.1, 0.2, 0.3]
    )
    await pipelines.write_rows(
        "deal_view",
        seller=["x", "y:z", "x", "x"],
        user_id=[5, 5, 5, 6],
        item_id=[1, 1, 2, 2],
        bonus=[100, 200, 300, 400],
    )
    wanted = {"item_id": [1, 1, 2], "seller": ["x", "y:z", "x"]}
    both = await asyncio.gather(
        pipelines.ask("deals_of_user", wanted, user_id=5),
        pipelines.ask("deals_of_user", {"item_id": ["2"], "seller": ["x"]}, user_id=6),
    )
    assert [ranked(answer) for answer in both] == [[(2, "x"), (1, "y:z"), (1, "x")], [(2, "x")]]
    np.testing.assert_allclose(scores(both[0]), [320.3, 210.2, 110.1], rtol=1e-6)
    np.testing.assert_allclose(scores(both[1]), [420.3], rtol=1e-6)
    assert told(both[0]) == []


async def test_the_keys_order_ties_where_it_has_several_fields(pipelines: PipelineApplication) -> None:
    wanted = {"item_id": [2, 1, 2, 1], "seller": ["b", "b", "a", "a"]}
    answer = await pipelines.ask("deals_of_user", wanted, user_id=5)
    assert ranked(answer) == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]


async def test_a_feature_is_refused_that_a_request_wants_back_twice(pipelines: PipelineApplication) -> None:
    """A small request can't ask for a huge answer."""
    with pytest.raises(InvalidRequest, match=r"'user_view\.age' is named twice"):
        await pipelines.ask("fond_items", user_id=1, return_features=["user_view.age"] * 50_000)


async def test_no_candidates_make_an_empty_answer(pipelines: PipelineApplication) -> None:
    answer = await pipelines.ask("known_items", {"item_id": np.empty(0, np.int64)}, user_id=1)
    assert ranked(answer) == []


@pytest.mark.parametrize("pipeline", ["fond_items", "merged_items", "merged_and_filtered", "nearest_items"])
async def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(
    pipelines: PipelineApplication, pipeline: str
) -> None:
    random, users, items = np.random.default_rng(5), range(1, 25), range(1, 11)
    pairs = [(item, user) for user in users for item in items if random.random() < 0.6]
    vectors = random.integers(-2, 3, (2, len(users), 2)).tolist()
    for side in vectors:
        for index in (0, *random.integers(0, len(users), 4)):  # the first has no vector at all
            side[index] = None
    await pipelines.write_rows(
        "user_view",
        user_id=users,
        taste=vectors[0],
        mood=vectors[1],
        seen=[random.integers(1, 6, user % 3).tolist() for user in users],
        hidden=[random.integers(1, 10, user % 2).tolist() for user in users],
    )
    await pipelines.write_rows(
        "item_view",
        item_id=items[:-2],
        price=random.random(8).tolist(),
        live=[bool(item % 4) for item in items[:-2]],
        kind=[None if item % 5 == 0 else "book" for item in items[:-2]],
    )
    await pipelines.write_rows(
        "affinity_view",
        item_id=[item for item, _ in pairs],
        user_id=[user for _, user in pairs],
        fondness=random.integers(0, 3, len(pairs)).tolist(),
    )
    alone = [await outcome(pipelines, pipeline, user) for user in users]
    together = await asyncio.gather(*[outcome(pipelines, pipeline, user) for user in users])
    assert together == alone
    assert any(isinstance(found, str) for found in alone)
    assert any(not isinstance(found, str) and found[0] for found in alone)


async def outcome(application: PipelineApplication, pipeline: str, user_id: int) -> object:
    """Return an answer's keys, scores and degradations; the message where there is none."""
    try:
        answer = await application.ask(pipeline, user_id=user_id)
    except NotUsable as error:
        return error.message
    return ranked(answer), scores(answer), sorted(told(answer))
