"""The prediction cache where it belongs: before the steps of a real pipeline, behind real writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Unavailable
from numpy.typing import NDArray

from feature_store.memory_store import MemoryStore
from feature_store.types import Outcome
from gateway.predict import Predictor
from gateway.writes import FeatureWrites
from registry.dtypes import Scalar
from runtime.clock import ManualClock
from runtime.offload import Offload
from tests.support.recalling import FRESH_S, STALE_S, Given, given, recalling_application


class Trying(MemoryStore):
    """A store in memory that waits, is gone, or loses the reply to a write that it did."""

    until: asyncio.Event | None = None
    is_gone = False
    loses_replies = False
    reads = 0

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        self.reads += 1
        if self.until is not None:
            await self.until.wait()
        if self.is_gone:
            raise Unavailable("the store is gone")
        return await super().get_many(keys, deadline)

    async def put_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes], deadline: Deadline = NEVER
    ) -> NDArray[np.uint8]:
        outcomes = await super().put_many(keys, rows, deadline)
        if self.loses_replies:
            raise Unavailable("no reply")
        return outcomes


class Place:
    """An application over such a store, and the writes to it."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.application = recalling_application(directory, self.clock)
        self.store = self.application.store = Trying(self.clock)
        offload = Offload(self.clock, threads=1, inline_below_s=1.0)
        self.application.predictor = Predictor(self.store, offload, self.clock)
        self.recall = self.application.predictor.recall
        self.writes = FeatureWrites(self.store, self.clock, self.recall.wrote)

    async def prepare(self) -> None:
        for user_id in (1, 2):
            await self.application.write("profile", user_id, age=30.0, income=1.0, children=2)
            await self.application.write("now", user_id, clicks=5.0)

    async def write_clicks(self, user_id: int, clicks: float, time_us: int | None = None) -> list[int]:
        values = np.array([clicks], np.float32)
        times = None if time_us is None else (np.array([time_us]), Scalar.TIMESTAMP)
        written = await self.writes.write(
            self.application.release.reader("now"),
            {"user_id": np.array([user_id])},
            {"clicks": (values, Scalar.FLOAT32)},
            {},
            times,
            NEVER,
        )
        return written.outcomes.tolist()

    async def ask(self, pipeline: str, user_id: int = 1, timeout_s: float = 1.0) -> Given:
        return given(await self.application.ask(pipeline, user_id, timeout_s=timeout_s))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_hit_reads_nothing_and_says_so_in_its_stages(place: Place) -> None:
    await place.prepare()
    first, reads = await place.ask("cached"), place.store.reads
    again = await place.ask("cached")
    assert (first.outcome, again.outcome, first.number == again.number) == ("MISS", "HIT", True)
    assert first.stages == ["admit", "recall", "hydrate", "assemble", "predict", "select"]
    assert again.stages == ["admit", "recall"]
    assert place.store.reads == reads


@pytest.mark.parametrize("loses_replies", [False, True])
async def test_answer_is_made_from_the_new_row_when_one_was_written(
    place: Place, loses_replies: bool
) -> None:
    await place.prepare()
    before = [await place.ask("watched", user_id) for user_id in (1, 2)]
    place.clock.advance(1.0)
    place.store.loses_replies = loses_replies
    if loses_replies:
        with pytest.raises(Unavailable):
            await place.write_clicks(1, 9.0)
    else:
        assert await place.write_clicks(1, 9.0) == [Outcome.APPLIED]
    after = [await place.ask("watched", user_id) for user_id in (1, 2)]
    assert [one.outcome for one in after] == ["MISS", "HIT"]
    assert after[0].number == before[0].number + 4 * 100
    assert (await place.ask("watched")).outcome == "HIT"


async def test_answer_stays_when_the_write_was_older_than_the_row(place: Place) -> None:
    await place.prepare()
    await place.ask("watched")
    assert await place.write_clicks(1, 9.0, place.clock.now_us() - 1_000_000) == [Outcome.OLDER]
    assert (await place.ask("watched")).outcome == "HIT"


async def test_stale_answer_stands_in_when_the_store_is_gone(place: Place) -> None:
    await place.prepare()
    first = await place.ask("standing_in")
    place.store.is_gone = True
    place.clock.advance(FRESH_S + STALE_S)
    answer = await place.ask("standing_in")
    assert (answer.outcome, answer.number, answer.reasons) == ("STALE", first.number, ["UNAVAILABLE"])
    assert answer.age_s == pytest.approx(FRESH_S + STALE_S, abs=0.1)
    with pytest.raises(Unavailable):
        await place.ask("standing_in", 2)
    with pytest.raises(Unavailable):
        await place.ask("cached")
    place.store.is_gone = False
    place.clock.advance(1.0)
    assert (await place.ask("standing_in")).outcome == "MISS"


async def test_stale_answer_stands_in_for_a_caller_whose_time_is_over_before_the_flights(
    place: Place,
) -> None:
    await place.prepare()
    await place.ask("standing_in")
    place.clock.advance(FRESH_S + STALE_S)
    place.store.until = asyncio.Event()
    patient = asyncio.ensure_future(place.ask("standing_in"))
    await asyncio.sleep(0)
    hurried = await place.ask("standing_in", timeout_s=0.01)
    assert (hurried.outcome, hurried.reasons) == ("STALE", ["TIMEOUT"])
    place.store.until.set()
    assert (await patient).outcome == "MISS"
    assert (await place.ask("standing_in")).outcome == "HIT"


async def test_caller_whose_time_is_over_gets_an_error_that_names_the_step(place: Place) -> None:
    await place.prepare()
    place.store.until = asyncio.Event()
    with pytest.raises(DeadlineExceeded) as raised:
        await place.ask("cached", timeout_s=0.01)
    assert raised.value.metadata["stage"] == "recall"
    place.store.until.set()
    assert (await place.ask("cached")).outcome == "JOINED"
    assert (await place.ask("cached")).outcome == "HIT"


async def test_cold_user_is_made_again_as_soon_as_its_row_is_written(place: Place) -> None:
    cold = await place.ask("watched", 7)
    assert (cold.outcome, set(cold.reasons)) == ("MISS", {"NOT_FOUND"})
    assert (await place.ask("watched", 7)).outcome == "HIT"
    await place.write_clicks(7, 1.0)
    assert (await place.ask("watched", 7)).outcome == "MISS"
