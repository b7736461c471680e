"""Requests whose own data makes a model fail: what becomes of the others in their batch."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from forebay.errors import Error, NotUsable

from gateway.batch import Answer
from runtime.clock import ManualClock
from tests.support import manual_loop
from tests.support.degrading_application import DegradingApplication, degrading_application, told

HARMLESS, HARMFUL = 1, 2
"""Users; the model fails on the second one's age."""


def play(application: DegradingApplication, users: list[int], pipeline: str = "rating") -> list[Any]:
    """Return each user's answer or error, all asked for at once."""
    runner = application.runners[pipeline]
    runner.most = 35.0 if pipeline == "rating" else 4.0

    async def program() -> list[Any]:
        await application.write_everything()
        found = await asyncio.gather(
            *[application.predict(pipeline, user) for user in users], return_exceptions=True
        )
        await application.predictor.aclose()
        assert len(asyncio.all_tasks()) == 1, "a task is left over"
        return found

    assert isinstance(application.clock, ManualClock)
    return manual_loop.run(program(), application.clock)


def made(directory: Path, **options: Any) -> DegradingApplication:
    return degrading_application(directory, ManualClock(monotonic_s=0.0), **options)


def test_only_the_member_whose_data_fails_the_model_fails(tmp_path: Path) -> None:
    application = made(tmp_path)
    found = play(application, [HARMLESS, HARMLESS, HARMFUL, HARMLESS, HARMLESS, HARMLESS, HARMLESS, HARMLESS])
    assert [isinstance(one, NotUsable) for one in found] == [place == 2 for place in range(8)]
    others = [one for one in found if isinstance(one, Answer)]
    assert [np.asarray(one.scores[0].values).tolist() for one in others] == [[30.0]] * 7
    # The batch, then both of its halves, and so on down to the one.
    assert sorted(application.runners["rating"].runs) == [1, 1, 2, 2, 4, 4, 8]


def test_members_keep_their_own_rows_when_a_batch_of_candidates_is_divided(tmp_path: Path) -> None:
    application = made(tmp_path)  # of the first user's items one, the fifth, fails the model
    first, second = play(application, [1, 2], "items")
    assert isinstance(first, NotUsable)
    assert isinstance(second, Answer)
    assert np.asarray(second.entities[0].values).tolist() == [3, 2, 1]


def test_the_member_whose_data_fails_gets_what_stands_in(tmp_path: Path) -> None:
    application = made(tmp_path, degrade_one="{predict: [{feature: taste.age}]}")
    harmless, harmful = play(application, [HARMLESS, HARMFUL])
    assert told(harmless) == set()
    assert told(harmful) == {("predict", "rater", "ERROR", "FEATURE_SCORE")}
    assert harmful.scores[0].values.tolist() == [40.0]


def test_data_that_fails_the_model_closes_nobody_elses_gate(tmp_path: Path) -> None:
    application = made(tmp_path)
    application.runners["rating"].most = 35.0

    async def program() -> list[Any]:
        await application.write_everything()
        found: list[Any] = []
        for user in [*[HARMFUL] * 20, HARMLESS]:
            try:
                found.append(await application.predict("rating", user))
            except Error as error:
                found.append(error)
        return found

    assert isinstance(application.clock, ManualClock)
    *harmful, harmless = manual_loop.run(program(), application.clock)
    assert all(isinstance(one, NotUsable) for one in harmful)
    assert isinstance(harmless, Answer)
