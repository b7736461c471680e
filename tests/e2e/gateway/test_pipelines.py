"""Several entities, views of user and item at once, merged searches, conditions and orders, through a real
gateway from files to answers."""

from collections.abc import Iterator

import forebay
import numpy as np
import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.market_application import ITEMS, WEIGHTS, market_data, write_market_application
from tests.support.served_application import prepare, served


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[forebay.Client]:
    """A client of the market application."""
    directory = tmp_path_factory.mktemp("market")
    file = write_market_application(directory / "app")
    with TemporaryStore() as store:
        prepare(directory, store.url, file, ("tastes", "styles"))
        with (
            served(directory, store.url, "market") as gateway,
            forebay.Client(gateway.gateway, timeout_s=5.0) as client,
        ):
            yield client


def retrieved(user_id: int, *, styled: bool = True) -> dict[int, float]:
    """Return the items that items_for_visitor finds, from 0, and their best scores."""
    data = market_data()
    taste, style = data.user_vectors[user_id - 1]
    similarities = data.item_vectors[0] @ taste
    lengths = np.linalg.norm(data.item_vectors[1], axis=1) * np.linalg.norm(style)
    cosines = data.item_vectors[1] @ style / lengths
    best = {item: similarities[item] for item in np.argsort(-similarities)[:15]}
    for item in np.argsort(-cosines)[:10] if styled else ():
        best[item] = max(best.get(item, -np.inf), cosines[item])
    return best


def expected(user_id: int, shop: str, *, styled: bool = True) -> list[tuple[int, float]]:
    """Return what items_for_visitor answers, worked out from the data."""
    data, user = market_data(), user_id - 1
    scored = []
    for item, score in retrieved(user_id, styled=styled).items():
        if data.kinds[item] == "car" or data.prices[item] <= 2 or data.ages[user] >= 60:
            continue
        fondness = np.nan_to_num(data.fondness[user, item])
        values = [data.ages[user], data.cheapest[shop], data.prices[item], fondness, score]
        scored.append((100 + int(item), float(np.dot(WEIGHTS, values))))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:6]


@pytest.mark.parametrize(("user_id", "shop"), [(1, "a"), (1, "b"), (2, "a"), (3, "b"), (4, "a"), (5, "b")])
def test_the_answer_is_what_numpy_works_out(market: forebay.Client, user_id: int, shop: str) -> None:
    answer = market.predict("items_for_visitor", user_id=user_id, shop=shop)
    wanted = expected(user_id, shop)
    assert [item.entity["item_id"] for item in answer] == [item for item, _ in wanted]
    np.testing.assert_allclose(
        [item.scores["score"] for item in answer], [score for _, score in wanted], rtol=1e-4
    )
    assert not [part for part in answer.degradations if part.stage == "retrieve"]
    assert answer.provenance.index == "tastes,styles"
    assert len(answer.provenance.index_version.split(",")) == 2


def test_missing_rows_of_user_and_item_are_counted_for_the_request(market: forebay.Client) -> None:
    answer = market.predict(
        "items_for_visitor", user_id=1, shop="a", top=100, return_features=["affinities.fondness"]
    )
    fondness = market_data().fondness[0]
    missing = sum(bool(np.isnan(fondness[item])) for item in retrieved(1))
    [part] = answer.degradations
    assert (part.stage, part.subject, part.reason, part.action, part.count) == (
        *("hydrate_candidates", "affinities", "NOT_FOUND", "DEFAULTS"),
        missing,
    )
    for item in answer:
        known = fondness[item.entity["item_id"] - 100]
        assert item.features["affinities.fondness"] == (0 if np.isnan(known) else known)


def test_a_request_is_answered_from_one_search_when_it_lacks_the_others_vector(
    market: forebay.Client,
) -> None:
    answer = market.predict("items_for_visitor", user_id=7, shop="a")
    assert [item.entity["item_id"] for item in answer] == [item for item, _ in expected(7, "a", styled=False)]
    assert ("retrieve", "users", "NOT_FOUND", "FALLBACK", 1) in {
        (part.stage, part.subject, part.reason, part.action, part.count) for part in answer.degradations
    }


def test_a_request_without_any_vector_is_refused_by_the_views_name(market: forebay.Client) -> None:
    with pytest.raises(forebay.errors.NotUsable, match="view users has no vector"):
        market.predict("items_for_visitor", user_id=8, shop="a")


def test_nothing_is_answered_when_a_condition_on_the_request_fails(market: forebay.Client) -> None:
    assert len(market.predict("items_for_visitor", user_id=6, shop="a")) == 0


def test_rows_are_ordered_by_a_feature_and_ties_by_key(market: forebay.Client) -> None:
    data = market_data()
    answer = market.predict("newest_items", user_id=3, shop="a", return_features=["items.added"])
    found = np.argsort(-(data.item_vectors[0] @ data.user_vectors[2][0]))[:12]
    newest = sorted(found.tolist(), key=lambda item: (-data.added_us[item], item))[:4]
    assert [item.entity["item_id"] for item in answer] == [100 + item for item in newest]


def test_every_key_field_is_needed_once(market: forebay.Client) -> None:
    with pytest.raises(forebay.errors.InvalidRequest, match=r"inputs\.shop"):
        market.predict("items_for_visitor", user_id=1)
    assert ITEMS > len(market.predict("items_for_visitor", user_id="1", shop="b")) > 0


def test_candidates_of_the_request_have_composite_keys(market: forebay.Client) -> None:
    data = market_data()
    wanted = {"seller": ["x:1", "y", "x:1", "y"], "item_id": [100, 101, 101, 100]}
    answer = market.predict("rank_offers", user_id=2, candidates=wanted)
    scores = {
        (seller, item_id): data.prices[item_id - 100]
        + 10 * rebate
        + 100 * np.nan_to_num(data.fondness[1, item_id - 100])
        for (seller, item_id), rebate in data.rebates.items()
    }
    best = sorted(scores, key=lambda key: -scores[key])
    assert [(item.entity["seller"], item.entity["item_id"]) for item in answer] == best
    np.testing.assert_allclose(
        [item.scores["score"] for item in answer], [scores[key] for key in best], rtol=1e-5
    )
    dropped = [part for part in answer.degradations if part.action == "DROPPED"]
    assert [(part.subject, part.count) for part in dropped] == [("offers", 1)]
