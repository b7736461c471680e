"""Which candidates stay, and in which order."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.plan import FallbackCandidates
from gateway.steps.conditions import compile_condition
from registry.pipeline_definitions import Condition
from tests.support.compiled_application import HOUR_US
from tests.support.pipeline_application import PipelineApplication, ranked, told

ITEMS: Mapping[str, list[Any]] = {
    "item_id": [1, 2, 3, 4, 5],
    "price": [1.5, 2.0, 3.25, 4.5, None],
    "stock": [2**62 + 1, 2**62, None, -(2**63), 0],
    "kind": ["book", "toy", "boök", None, "book"],
    "brand": ["a", "b", None, "d", "e"],
    "added": [1_000, 2_000, 3_000, None, 5_000],
    "live": [True, False, True, None, False],
    "weight": [0.1, 1e300, -1e300, None, 0.0],
}
EVERYTHING = [1, 2, 3, 4, 5, 6]
"""There is no row of item 6."""

CONDITIONS: list[tuple[str, dict[str, Any], list[int]]] = [
    ("item_view.price", {"eq": 2}, [2]),
    ("item_view.price", {"ne": 2}, [1, 3, 4]),
    ("item_view.price", {"gt": 2}, [3, 4]),
    ("item_view.price", {"gte": 2}, [2, 3, 4]),
    ("item_view.price", {"lt": 3.25}, [1, 2]),
    ("item_view.price", {"lte": 3.25}, [1, 2, 3]),
    ("item_view.price", {"in": [2, 4.5, 7]}, [2, 4]),
    ("item_view.price", {"gt": 1.5, "lte": 4.5, "ne": 2, "in": [2, 3.25]}, [3]),
    ("item_view.stock", {"gt": 2**62}, [1]),  # a float64 couldn't tell them apart
    ("item_view.stock", {"lte": -(2**63)}, [4]),
    ("item_view.stock", {"eq": 7}, [3, 6]),  # the default stands in
    ("item_view.stock", {"in": [2**62, 0]}, [2, 5]),
    ("item_view.kind", {"eq": "book"}, [1, 5]),
    ("item_view.kind", {"ne": "book"}, [2, 3]),
    ("item_view.kind", {"gt": "book"}, [2, 3]),
    ("item_view.kind", {"lt": "boök"}, [1, 5]),
    ("item_view.kind", {"in": ["toy", "boök", ""]}, [2, 3]),
    ("item_view.brand", {"in": ["own", "b"]}, [2, 3, 6]),
    ("item_view.added", {"gte": 2_000, "lt": 5_000}, [2, 3]),
    ("item_view.live", {"eq": True}, [1, 3]),
    ("item_view.live", {"ne": True}, [2, 5]),
    ("item_view.weight", {"eq": 0.1}, [1]),
    ("item_view.weight", {"gt": 1e299}, [2]),
    ("user_view.country", {"eq": "de"}, EVERYTHING),
    ("user_view.country", {"ne": "de"}, []),
    ("user_view.age", {"gte": 0}, []),  # it is null
]


def filtering(application: PipelineApplication, **conditions: Mapping[str, Any]) -> PipelineApplication:
    """Return the application with other conditions for `filtered_items`, and no other cut than a hundred."""
    readers = application.release.readers
    where = tuple(
        compile_condition(
            *column.split("."),
            readers[column.split(".")[0]].features[column.split(".")[1]].dtype.scalar,
            Condition.model_validate(condition),
        )
        for column, condition in conditions.items()
    )
    return with_select(application, where=where, top=100)


def with_select(application: PipelineApplication, **changes: Any) -> PipelineApplication:
    pipeline = application.release.pipeline("filtered_items")
    pipeline = replace(pipeline, select=replace(pipeline.select, **changes))
    pipelines = {**application.release.pipelines, "filtered_items": pipeline}
    return replace(application, release=replace(application.release, pipelines=pipelines))


@pytest.fixture
async def items(pipelines: PipelineApplication) -> PipelineApplication:
    """The pipelines with five items and a user from nowhere near forty."""
    await pipelines.write_rows("item_view", **ITEMS)
    await pipelines.write_rows("user_view", user_id=[1], country=["de"])
    return pipelines


@pytest.mark.parametrize(("column", "condition", "expected"), CONDITIONS)
async def test_only_what_meets_the_condition_stays(
    items: PipelineApplication, column: str, condition: dict[str, Any], expected: list[int]
) -> None:
    application = filtering(items, **{column: condition})
    answer = await application.ask("filtered_items", {"item_id": EVERYTHING}, user_id=1)
    assert sorted(ranked(answer)) == expected


async def test_all_conditions_hold_for_what_stays_and_the_cut_comes_after(
    pipelines: PipelineApplication,
) -> None:
    count = 40
    prices = [number % 8 for number in range(count)]
    kinds = [["book", "toy", "car"][number % 3] for number in range(count)]
    await pipelines.write_rows("item_view", item_id=range(count), price=prices, kind=kinds)
    await pipelines.write_rows("user_view", user_id=[1, 2], age=[18, 17])
    grown, child, unknown = await asyncio.gather(
        *[
            pipelines.ask(
                "filtered_items",
                {"item_id": range(count)},
                user_id=user,
                top=top,
                return_features=["item_view.price", "item_view.kind"],
            )
            for user, top in ((1, None), (2, 100), (3, 100))
        ]
    )
    allowed = [n for n in range(count) if 2 <= prices[n] < 5 and kinds[n] in ("book", "toy")]
    best = sorted(allowed, key=lambda number: (-prices[number], number))
    assert ranked(grown) == best[:3]
    assert np.asarray(grown.features[0].values).tolist() == [prices[number] for number in best[:3]]
    assert list(grown.features[1].values) == [kinds[number] for number in best[:3]]
    assert ranked(child) == []
    assert ranked(unknown) == []
    assert told(grown) == []


async def test_a_stale_value_meets_a_condition_only_where_its_rule_is_to_use_it(
    items: PipelineApplication,
) -> None:
    items.clock.advance(HOUR_US / 1e6 + 1)
    application = filtering(items, **{"item_view.price": {"gte": 0}})
    answer = await application.ask("filtered_items", {"item_id": EVERYTHING}, user_id=1)
    assert ranked(answer) == []
    assert ("hydrate_candidates", "item_view", "STALE", "DEFAULTS", 5) in told(answer)


async def test_nothing_meets_a_condition_while_the_store_is_gone_and_the_answer_says_why(
    items: PipelineApplication,
) -> None:
    await items.store.aclose()
    answer = await items.ask("spare_items", {"item_id": [1, 2, 3]}, user_id=1)
    assert ranked(answer) == []
    assert told(answer) == [("hydrate_candidates", "item_view", "UNAVAILABLE", "DEFAULTS", 3)]


async def test_a_default_in_a_condition_is_reported_but_not_a_null(items: PipelineApplication) -> None:
    answer = await filtering(items, **{"item_view.kind": {"ne": "x"}}).ask(
        "filtered_items", {"item_id": [1, 2, 3]}, user_id=1
    )
    assert ranked(answer) == [3, 2, 1]
    assert told(answer) == []


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("item_view.stock", [1, 2, 3, 6, 5, 4]),  # the default of 7 for 3 and 6; exact beyond 2**53
        ("item_view.added", [5, 3, 2, 1, 4, 6]),  # missing ones last, by key
        ("item_view.weight", [2, 1, 5, 3, 4, 6]),
        ("item_view.price", [4, 3, 2, 1, 5, 6]),
        ("user_view.age", EVERYTHING),
    ],
)
async def test_rows_are_ordered_by_a_feature(
    items: PipelineApplication, by: str, expected: list[int]
) -> None:
    application = with_select(items, where=(), by=by, top=100)
    answers = await asyncio.gather(
        application.ask("filtered_items", {"item_id": EVERYTHING[::-1]}, user_id=1),
        application.ask("filtered_items", {"item_id": [3, 1, 2]}, user_id=1),
    )
    assert ranked(answers[0]) == expected
    assert ranked(answers[1]) == [item for item in expected if item <= 3]


async def test_fallback_candidates_keep_their_order_where_rows_are_ordered_by_closeness(
    pipelines: PipelineApplication,
) -> None:
    await pipelines.write_rows("user_view", user_id=[1], taste=[[-1, 0]])
    pipeline = pipelines.release.pipeline("nearest_items")
    fallback = FallbackCandidates(["9", "2", "7"], {"item_id": np.array([9, 2, 7])})
    pipeline = replace(pipeline, retrieve_fallback=fallback)
    release = replace(pipelines.release, pipelines={"nearest_items": pipeline})
    application = replace(pipelines, release=release)
    answers = await asyncio.gather(*[application.ask("nearest_items", user_id=user) for user in (1, 2)])
    assert [ranked(answer) for answer in answers] == [[1, 2, 3, 4], [9, 2, 7]]


async def test_rows_are_ordered_by_how_close_they_were_found(pipelines: PipelineApplication) -> None:
    await pipelines.write_rows("user_view", user_id=[1], taste=[[-1, 0]])
    await pipelines.write_rows("item_view", item_id=[1, 2, 3, 4, 5], price=[9, 1, 8, 2, 7])
    answer = await pipelines.ask("nearest_items", user_id=1)
    assert ranked(answer) == [1, 2, 3, 4]
