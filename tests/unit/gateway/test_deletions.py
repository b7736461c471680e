"""Deleting entities: what goes, what stays, what late writes can do afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, InvalidRequest, NotFound, Overloaded, Unavailable
from forebay.v1 import features_pb2

from feature_store.keys import row_keys
from feature_store.types import Outcome, Status
from gateway.admission import Admission
from gateway.deletions import EntityDeletions
from gateway.features import FeatureReads
from gateway.servicers.features import FeatureServicer
from gateway.writes import FeatureWrites
from registry.dtypes import Scalar
from runtime.admission_settings import AdmissionSettings
from runtime.batcher import Criticality
from tests.support.compiled_application import CompiledApplication

APPLIED, OLDER = Outcome.APPLIED, Outcome.OLDER
PRESENT, NOT_FOUND, DEFAULTED = Status.PRESENT, Status.NOT_FOUND, Status.DEFAULTED
LATENESS_S = 60.0
SECOND_US = 1_000_000


class Deleting:
    """Deletions over the application's store, with what was told of them."""

    def __init__(
        self, application: CompiledApplication, generations: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self.application = application
        self.told: list[tuple[str, list[str]]] = []
        self.noted: dict[int, list[str]] = {}
        self.failure: Exception | None = None
        self._stored = generations or {}
        self._deletions = EntityDeletions(
            application.store, application.clock, self._generations, self._note, LATENESS_S, self._wrote
        )

    async def delete(self, *user_ids: object, deadline: Deadline = NEVER, entity: str = "user") -> list[int]:
        keys: Mapping[str, list[str]] = {"user_id": list(map(str, user_ids))}
        return (await self._deletions.delete(self.application.release, entity, keys, deadline)).tolist()

    async def write(self, user_id: int, clicks: float, event_us: int | None = None) -> int:
        writes = FeatureWrites(self.application.store, self.application.clock, self._wrote)
        times = None if event_us is None else (np.array([event_us]), Scalar.TIMESTAMP)
        outcomes = await writes.write(
            self.application.release.reader("now"),
            {"user_id": np.array([user_id])},
            {"clicks": (np.array([clicks], np.float32), Scalar.FLOAT32)},
            {},
            times,
            NEVER,
        )
        return int(outcomes.outcomes[0])

    async def statuses(self, feature: str, *user_ids: int) -> list[int]:
        reads = FeatureReads(self.application.store, self.application.clock)
        plan = reads.plan(self.application.release, [feature])
        [block] = (await reads.read(plan, {"user_id": np.array(user_ids)}, NEVER)).values()
        assert block.corrupt_count == 0
        return block.statuses(feature.partition(".")[2]).tolist()

    def _wrote(self, view: str, texts: Sequence[str]) -> None:
        self.told.append((view, list(texts)))

    async def _note(
        self, view_id: int, generations: Sequence[int], texts: Sequence[str], _deadline: Deadline
    ) -> None:
        for generation in generations:
            self.noted.setdefault(generation, []).extend(texts)

    async def _generations(self, view_ids: Sequence[int], _deadline: Deadline) -> list[list[int]]:
        if self.failure is not None:
            raise self.failure
        names = {reader.view.view_id: name for name, reader in self.application.release.readers.items()}
        return [list(self._stored.get(names[view_id], ())) for view_id in view_ids]


@pytest.fixture
def deleting(application: CompiledApplication) -> Deleting:
    return Deleting(application)


async def test_rows_of_every_view_are_gone_and_others_stay(deleting: Deleting) -> None:
    for user_id in (1, 2):
        await deleting.application.write("profile", user_id, age=30, income=5, children=2)
        await deleting.application.write("now", user_id, clicks=7)
    assert await deleting.delete(1, 99) == [APPLIED, APPLIED]
    assert await deleting.statuses("profile.income", 1, 2, 99) == [NOT_FOUND, PRESENT, NOT_FOUND]
    assert await deleting.statuses("profile.age", 1, 2, 99) == [DEFAULTED, PRESENT, DEFAULTED]
    assert await deleting.statuses("now.clicks", 1, 2, 99) == [DEFAULTED, PRESENT, DEFAULTED]
    assert deleting.told == [("profile", ["1", "99"]), ("now", ["1", "99"])]


async def test_a_prediction_says_not_found_when_the_entity_was_deleted(deleting: Deleting) -> None:
    for view in ("profile", "now"):
        await deleting.application.write(view, 1, age=30, income=5, clicks=7)
    whole = await deleting.application.predict("no_rule")
    await deleting.delete(1)
    answer = await deleting.application.predict("no_rule")
    assert whole.member.degradations == []
    assert [(part.subject, part.reason) for part in answer.member.degradations] == [
        ("profile", "NOT_FOUND"),
        ("now", "NOT_FOUND"),
    ]


async def test_a_late_event_changes_nothing_and_a_newer_one_brings_the_entity_back(
    deleting: Deleting,
) -> None:
    clock = deleting.application.clock
    before_us = clock.now_us() - SECOND_US
    await deleting.write(1, 5)
    clock.advance(1.0)
    deleted_us = clock.now_us()
    await deleting.delete(1)
    clock.advance(1.0)
    assert await deleting.write(1, 6, before_us) == OLDER
    assert await deleting.write(1, 6, deleted_us - 1) == OLDER
    assert await deleting.statuses("now.clicks", 1) == [DEFAULTED]
    assert await deleting.write(1, 6, deleted_us + 1) == APPLIED
    assert await deleting.statuses("now.clicks", 1) == [PRESENT]


async def test_a_late_event_brings_the_entity_back_when_the_tombstone_is_gone(deleting: Deleting) -> None:
    before_us = deleting.application.clock.now_us() - SECOND_US
    await deleting.delete(1)
    deleting.application.clock.advance(LATENESS_S - 1)
    assert await deleting.write(1, 6, before_us) == OLDER
    deleting.application.clock.advance(1)
    assert await deleting.write(1, 6, before_us) == APPLIED


async def test_a_row_from_the_future_is_deleted_and_one_that_was_written_since_stays(
    deleting: Deleting,
) -> None:
    clock = deleting.application.clock
    await deleting.write(1, 5, clock.now_us() + 3600 * SECOND_US)
    assert await deleting.delete(1) == [APPLIED]
    assert await deleting.statuses("now.clicks", 1) == [DEFAULTED]
    clock.advance(1.0)
    await deleting.write(2, 5)
    clock.advance(-0.5)  # another server's clock is behind
    assert await deleting.delete(2, 3) == [OLDER, APPLIED]
    assert await deleting.statuses("now.clicks", 2) == [PRESENT]


async def test_deleting_again_is_the_same(deleting: Deleting) -> None:
    await deleting.write(1, 5)
    for _ in range(3):
        assert await deleting.delete(1, 1) == [APPLIED, APPLIED]
        assert await deleting.statuses("now.clicks", 1) == [DEFAULTED]


async def test_every_stored_generation_of_a_swapped_view_loses_its_rows(
    application: CompiledApplication,
) -> None:
    view = application.release.reader("profile").view
    generations = [0, 1, 2]  # the one before the live one, the live one, one being written
    keys = [row_keys(view.entity_id, view.view_id, number, ["1", "2"]) for number in generations]
    for pair in keys:
        await application.store.load_many(pair, [b"row", b"row"])
    await Deleting(application, {"profile": generations}).delete(1)
    assert [await application.store.get_many(pair) for pair in keys] == [[None, b"row"]] * 3


async def test_a_tombstone_stays_when_the_view_was_swapped_once(application: CompiledApplication) -> None:
    reader = application.release.reader("now")
    view = reader.view
    [old] = row_keys(view.entity_id, view.view_id, 7, ["1"])
    await application.store.load_many([old], [b"row"])
    deleting = Deleting(application, {"now": [1, 7]})
    await deleting.delete(1)
    assert await application.store.get_many([old]) == [None]
    assert await deleting.write(1, 5, application.clock.now_us() - 1) == OLDER


@pytest.mark.parametrize(
    ("user_ids", "entity", "error", "field"),
    [
        ((), "user", InvalidRequest, "keys"),
        (("x",), "user", InvalidRequest, "keys.user_id"),
        ((2**63,), "user", InvalidRequest, "keys.user_id"),
        ((1,), "item", NotFound, "entity"),
    ],
)
async def test_a_wrong_deletion_is_refused(
    deleting: Deleting, user_ids: tuple[object, ...], entity: str, error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as caught:
        await deleting.delete(*user_ids, entity=entity)
    assert getattr(caught.value, "field", None) == field
    assert deleting.told == []


async def test_nothing_is_deleted_when_the_generations_cannot_be_read(deleting: Deleting) -> None:
    await deleting.write(1, 5)
    deleting.told.clear()
    deleting.failure = Unavailable("gone")
    with pytest.raises(Unavailable):
        await deleting.delete(1)
    assert deleting.told == []
    assert await deleting.statuses("now.clicks", 1) == [PRESENT]


async def test_what_may_be_gone_is_told_when_the_deadline_passes(deleting: Deleting) -> None:
    with pytest.raises(DeadlineExceeded):
        await deleting.delete(1, deadline=Deadline(deleting.application.clock.monotonic_s()))
    assert deleting.told == [("profile", ["1"])]


async def test_a_deletion_is_refused_when_as_many_writes_as_may_be_are_under_way(
    application: CompiledApplication,
) -> None:
    clock = application.clock
    admission = Admission(AdmissionSettings(max_writes=1), clock)
    unused: Any = None
    servicer = FeatureServicer(unused, unused, unused, unused, unused, admission)
    call: Any = SimpleNamespace(criticality="critical")
    with admission.write(Criticality.CRITICAL), pytest.raises(Overloaded) as caught:
        await servicer.DeleteEntities(features_pb2.DeleteEntitiesRequest(entity="user"), call)
    assert caught.value.retry_after_s
