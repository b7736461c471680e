"""A part of the store is out of reach: its rows, and no others, are in error, or settled by a rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import Unavailable

from feature_store.memory_store import MemoryStore
from feature_store.store import UNREAD
from feature_store.types import Status
from gateway.features import FeatureReads
from runtime.clock import ManualClock
from tests.support.compiled_application import CompiledApplication


class PartialStore(MemoryStore):
    """A store some of whose keys are out of reach."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.unread: set[bytes] = set()

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        rows = await super().get_many(keys, deadline)
        return [UNREAD if key in self.unread else row for key, row in zip(keys, rows, strict=True)]


@pytest.fixture
async def partial(application: CompiledApplication, clock: ManualClock) -> CompiledApplication:
    """Two users with rows in both views; the first user's row of `now` is out of reach."""
    store = PartialStore(clock)
    partial = CompiledApplication(store, clock, application.release, application.as_of_us)
    for user_id in (1, 2):
        await partial.write("profile", user_id, age=30, income=2, children=0)
        await partial.write("now", user_id, clicks=7)
    store.unread = set(partial.release.reader("now").row_keys(["1"]))
    return partial


async def test_rows_are_in_error_when_they_alone_are_out_of_reach(partial: CompiledApplication) -> None:
    reads = FeatureReads(partial.store, partial.clock)
    plan = reads.plan(partial.release, ["profile.age", "now.clicks"])
    blocks = await reads.read(plan, {"user_id": np.array([1, 2, 3])}, NEVER)
    assert blocks["profile"].statuses("age").tolist() == [Status.PRESENT, Status.PRESENT, Status.DEFAULTED]
    assert blocks["now"].statuses("clicks").tolist() == [Status.ERROR, Status.PRESENT, Status.DEFAULTED]


@pytest.mark.parametrize("pipeline", ["no_rule", "defaults", "stale"])
async def test_a_view_is_settled_by_its_rule_when_it_is_out_of_reach(
    partial: CompiledApplication, pipeline: str
) -> None:
    answer = await partial.predict(pipeline)
    values = answer.scores[0].values
    assert isinstance(values, np.ndarray)
    assert values.tolist() == [30 + 20 + 300]
    told = [(one.subject, one.reason, one.action, one.count) for one in answer.member.degradations]
    assert told == [("now", "UNAVAILABLE", "DEFAULTS", 1)]
    assert (await partial.predict(pipeline, 2)).member.degradations == []


async def test_a_request_may_be_made_again_when_its_rule_is_to_fail(partial: CompiledApplication) -> None:
    with pytest.raises(Unavailable, match="view now"):
        await partial.predict("fail")
