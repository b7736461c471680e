import forebay
import numpy as np
import pytest

from tests.support.served_application import ServedApplication
from tests.support.tiny_application import ITEMS, WEIGHTS, tiny_data

STEPS = ["admit", "recall", "hydrate", "retrieve", "hydrate_candidates", "assemble", "predict", "select"]


def expected_ranking(client: forebay.Client, user_id: int, hour: float, top: int) -> list[tuple[int, float]]:
    """Return what items_for_user answers, worked out with numpy from the data and the clicks so far."""
    data = tiny_data()
    clicks = client.features(["item_now.clicks"], item_id=range(100, 100 + ITEMS)).values("item_now.clicks")
    user = user_id - 1
    similarity = data.vectors @ data.tastes[user]
    allowed = [item for item in range(ITEMS) if 100 + item not in data.seen[user]]
    candidates = sorted(allowed, key=lambda item: (-similarity[item], item))[:20]
    stocks = [7 if stock is None else stock for stock in data.stocks]
    weights = WEIGHTS["ranker"]
    scored = [
        (
            100 + item,
            float(
                np.dot(
                    weights,
                    [data.ages[user], data.prices[item], stocks[item], clicks[item], hour, similarity[item]],
                )
            ),
        )
        for item in candidates
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:top]


@pytest.mark.parametrize("user_id", [1, 2, 13, 20])
def test_the_answer_is_what_numpy_works_out(client: forebay.Client, user_id: int) -> None:
    answer = client.predict("items_for_user", user_id=user_id, hour=21.0)
    expected = expected_ranking(client, user_id, 21.0, 5)
    assert [item.entity["item_id"] for item in answer] == [item for item, _ in expected]
    np.testing.assert_allclose(
        [item.scores["score"] for item in answer], [score for _, score in expected], rtol=1e-5
    )


def test_a_request_feature_takes_its_default_when_it_is_left_out(client: forebay.Client) -> None:
    answer = client.predict("items_for_user", user_id=2, top=1)
    assert answer[0].scores["score"] == pytest.approx(expected_ranking(client, 2, 12.0, 1)[0][1], rel=1e-5)


def test_top_is_the_callers_when_it_asks_for_more_than_the_pipeline(client: forebay.Client) -> None:
    assert len(client.predict("items_for_user", user_id=2, top=17)) == 17
    assert len(client.predict("items_for_user", user_id=2, top=10_000)) == 20


def test_an_integer_key_may_come_as_text(client: forebay.Client) -> None:
    by_text = client.predict("items_for_user", user_id="2")
    by_number = client.predict("items_for_user", user_id=2)
    assert [item.entity for item in by_text] == [item.entity for item in by_number]


def test_features_come_back_with_the_items_when_they_are_asked_for(client: forebay.Client) -> None:
    answer = client.predict(
        "items_for_user",
        user_id=2,
        top=3,
        return_features=[
            "item_profile.title",
            "item_profile.vector",
            "user_profile.age",
            "user_profile.seen",
        ],
    )
    data = tiny_data()
    for item in answer:
        place = item.entity["item_id"] - 100
        assert item.features["item_profile.title"] == data.titles[place]
        np.testing.assert_array_equal(item.features["item_profile.vector"], data.vectors[place])
        assert item.features["user_profile.age"] == data.ages[1]
        assert list(item.features["user_profile.seen"]) == data.seen[1]


def test_the_provenance_says_what_made_the_answer(client: forebay.Client) -> None:
    provenance = client.predict("items_for_user", user_id=2).provenance
    assert provenance.release > 0
    assert (provenance.model, provenance.model_version) == ("ranker", "1")
    assert (provenance.index, provenance.cache) == ("items", "OFF")
    assert provenance.index_version
    assert len(provenance.trace_id) == 32
    assert provenance.prediction_id
    assert provenance.oldest_as_of_us > 1_600_000_000_000_000
    assert [stage.stage for stage in provenance.stages] == STEPS
    starts = [stage.start_us for stage in provenance.stages]
    assert starts == sorted(starts)
    assert all(0 < stage.given_us <= 2_000_000 for stage in provenance.stages)


def test_items_without_a_row_in_a_view_are_reported_once_with_their_count(client: forebay.Client) -> None:
    answer = client.predict("items_for_user", user_id=2, top=20)
    items = [item.entity["item_id"] for item in answer]
    missing = sum(
        status == forebay.Status.DEFAULTED
        for status in client.features(["item_now.clicks"], item_id=items).statuses("item_now.clicks")
    )
    (part,) = [part for part in answer.degradations if part.subject == "item_now"]
    assert (part.stage, part.reason, part.action) == ("hydrate_candidates", "NOT_FOUND", "DEFAULTS")
    assert part.count == missing > 10


def test_one_row_is_scored_when_a_pipeline_has_no_candidates(client: forebay.Client) -> None:
    answer = client.predict("risk_of_user", user_id=3, amount=100.0)
    data = tiny_data()
    expected = np.dot(WEIGHTS["risk"], [data.ages[2], *data.tastes[2], 100.0])
    assert len(answer) == 1
    assert answer[0].entity["user_id"] == 3
    assert answer[0].scores["risk"] == pytest.approx(expected, rel=1e-5)
    assert list(answer.degradations) == []
    assert [stage.stage for stage in answer.provenance.stages] == [
        "admit",
        "recall",
        "hydrate",
        "assemble",
        "predict",
        "select",
    ]


def test_candidates_are_ranked_when_the_request_names_them(client: forebay.Client) -> None:
    data = tiny_data()
    answer = client.predict("rate_items", user_id=3, candidates={"item_id": [105, 100, 159, 120]})
    expected = sorted([105, 100, 159, 120], key=lambda item: -data.prices[item - 100])[:3]
    assert [item.entity["item_id"] for item in answer] == expected


def test_ties_are_ordered_by_key(client: forebay.Client) -> None:
    answer = client.predict("rate_items", user_id=3, candidates={"item_id": [909, 905, 907]}, top=3)
    assert [item.entity["item_id"] for item in answer] == [905, 907, 909]
    assert {part.subject: part.count for part in answer.degradations} == {"item_profile": 3, "item_now": 3}


def test_candidates_with_an_integer_key_may_come_as_text(client: forebay.Client) -> None:
    answer = client.predict("rate_items", user_id=3, candidates={"item_id": ["1009", "909", "907"]}, top=3)
    assert [item.entity["item_id"] for item in answer] == [907, 909, 1009]


def test_no_candidates_give_no_rows(client: forebay.Client) -> None:
    assert len(client.predict("rate_items", user_id=3, candidates={"item_id": []})) == 0


def test_an_entity_without_a_row_is_answered_with_defaults_and_says_so(client: forebay.Client) -> None:
    answer = client.predict("risk_of_user", user_id=999, amount=1.0)
    assert np.isnan(answer[0].scores["risk"])
    assert [
        (part.stage, part.subject, part.reason, part.action, part.count) for part in answer.degradations
    ] == [("hydrate", "user_profile", "NOT_FOUND", "DEFAULTS", 1)]


def test_an_entity_without_a_row_is_refused_when_the_rule_says_so(client: forebay.Client) -> None:
    with pytest.raises(forebay.NotUsable, match="user_profile"):
        client.predict("strict_risk", user_id=999, amount=1.0)


def test_a_missing_query_vector_is_refused_naming_the_view(client: forebay.Client) -> None:
    with pytest.raises(forebay.NotUsable, match="user_profile"):
        client.predict("items_for_user", user_id=999)


@pytest.mark.parametrize(
    ("pipeline", "options", "error", "text"),
    [
        ("nowhere", {"user_id": 1}, forebay.NotFound, "items_for_user"),
        ("items_for_user", {}, forebay.InvalidRequest, "user_id"),
        ("items_for_user", {"user_id": 1.5}, forebay.InvalidRequest, "user_id"),
        ("items_for_user", {"user_id": "one"}, forebay.InvalidRequest, "user_id"),
        ("items_for_user", {"user_id": 1, "hours": 3}, forebay.InvalidRequest, "hours"),
        ("items_for_user", {"user_id": 1, "hour": "late"}, forebay.InvalidRequest, "hour"),
        ("items_for_user", {"user_id": 1, "top": 0}, forebay.InvalidRequest, "top.*10000"),
        ("items_for_user", {"user_id": 1, "top": 1_000_000}, forebay.InvalidRequest, "top.*10000"),
        ("items_for_user", {"user_id": 1, "top": -1}, forebay.InvalidRequest, "top"),
        (
            "items_for_user",
            {"user_id": 1, "return_features": ["x.y"]},
            forebay.InvalidRequest,
            "return_features",
        ),
        (
            "items_for_user",
            {"user_id": 1, "candidates": {"item_id": [1]}},
            forebay.InvalidRequest,
            "candidates.*finds its own",
        ),
        (
            "risk_of_user",
            {"user_id": 1, "amount": 1.0, "candidates": {"item_id": [1]}},
            forebay.InvalidRequest,
            "candidates.*scores one row",
        ),
        ("risk_of_user", {"user_id": 1}, forebay.InvalidRequest, "amount"),
        ("risk_of_user", {"user_id": 1, "amount": float("nan")}, forebay.InvalidRequest, "amount"),
        ("risk_of_user", {"user_id": 1, "amount": float("inf")}, forebay.InvalidRequest, "amount"),
        ("risk_of_user", {"user_id": 1, "amount": None}, forebay.InvalidRequest, "amount"),
        ("risk_of_user", {"user_id": 1, "amount": 1.0, "top": 3}, forebay.InvalidRequest, "top"),
        ("rate_items", {"user_id": 1}, forebay.InvalidRequest, "item_id"),
        ("rate_items", {"user_id": 1, "candidates": {"id": [1]}}, forebay.InvalidRequest, "item_id"),
        (
            "rate_items",
            {"user_id": 1, "candidates": {"item_id": ["x"]}},
            forebay.InvalidRequest,
            "field candidates.item_id",
        ),
    ],
)
def test_a_wrong_request_is_refused_naming_the_field(
    client: forebay.Client, pipeline: str, options: dict[str, object], error: type[forebay.Error], text: str
) -> None:
    with pytest.raises(error, match=text):
        client.predict(pipeline, **options)  # type: ignore[arg-type]


def test_a_deadline_that_is_too_short_is_exceeded_and_nothing_else_breaks(client: forebay.Client) -> None:
    with pytest.raises(forebay.DeadlineExceeded):
        client.predict("items_for_user", user_id=2, timeout_s=0.0002)
    with pytest.raises(forebay.DeadlineExceeded, match=r"hydrate|recall") as caught:
        client.predict("hurried_items", user_id=2, candidates={"item_id": [100]}, timeout_s=5.0)
    assert caught.value.metadata["stage"]
    assert len(client.predict("items_for_user", user_id=2)) == 5


async def test_the_async_client_gets_the_same_answer(tiny: ServedApplication, client: forebay.Client) -> None:
    async with forebay.aio.Client(tiny.gateway, timeout_s=5.0) as other:
        theirs = await other.predict("items_for_user", user_id=7, hour=3)
    ours = client.predict("items_for_user", user_id=7, hour=3)
    assert [(i.entity, i.scores) for i in theirs] == [(i.entity, i.scores) for i in ours]
