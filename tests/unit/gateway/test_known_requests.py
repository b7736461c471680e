"""Requests that come again byte for byte are answered without being parsed, just as others are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from forebay.v1 import prediction_pb2 as pb

from gateway.live import LiveRelease
from gateway.plan import CompiledRelease
from gateway.servicers.known_requests import KnownRequests
from runtime.clock import ManualClock
from runtime.rpc.call import Call, Context
from tests.support.recalling import FRESH_S, STALE_S, Counter, recalling_application

RAW = b"any bytes: they are not looked into"


@dataclass
class Live:
    """What is asked of `LiveRelease`."""

    current: CompiledRelease
    loaded: bool = True


class CallContext:
    """What a call asks of gRPC here."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"),)


class Desk:
    """A cache with one answer, and requests as they come in."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.counter = Counter(recalling_application(directory, self.clock))
        self.counter.making.takes_s = 0.0
        self.live = Live(self.counter.release)
        self.known = KnownRequests(cast(LiveRelease, self.live), self.counter.recall, self.clock)

    def call(self) -> Call:
        return Call("m", cast(Context, CallContext()), self.clock.monotonic_s(), self.clock.now_us())

    def outcome(self, raw: bytes = RAW) -> str | None:
        answer = self.known.answer(raw, self.call())
        if answer is None:
            return None
        name = pb.CacheOutcome.Name(pb.PredictResponse.FromString(answer).provenance.cache)
        return name.removeprefix("CACHE_OUTCOME_")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_answer_is_the_kept_one_with_the_calls_own_ids_and_times(desk: Desk) -> None:
    await desk.counter.get(raw=RAW)
    desk.clock.advance(1.0)
    call = desk.call()
    desk.clock.advance(0.000_050)
    answer = desk.known.answer(RAW, call)
    assert answer is not None
    response = pb.PredictResponse.FromString(answer)
    provenance = response.provenance
    assert (provenance.release, provenance.model, provenance.trace_id) == (1, "plain", "ab" * 16)
    assert len(bytes.fromhex(provenance.prediction_id)) == 16
    assert provenance.cache == pb.CACHE_OUTCOME_HIT
    assert provenance.cache_age_us == pytest.approx(1_000_050, abs=1)
    assert [(one.stage, one.start_us, one.duration_us, one.given_us) for one in provenance.stages] == [
        ("admit", 0, pytest.approx(50, abs=1), 100_000),
        ("recall", pytest.approx(50, abs=1), 0, pytest.approx(99_950, abs=1)),
    ]
    record = call.record(desk.clock.monotonic_s())
    assert record.pipeline == "cached"
    assert record.has_id(provenance.prediction_id)
    assert record.provenance == provenance
    assert desk.counter.recall.stats.hits == 1


async def test_request_is_looked_into_when_nothing_is_kept_for_it(desk: Desk) -> None:
    await desk.counter.get(raw=RAW)
    assert desk.outcome(b"other bytes") is None
    assert desk.outcome(b"") is None


async def test_request_is_looked_into_when_another_release_is_in_service(desk: Desk) -> None:
    await desk.counter.get(raw=RAW)
    desk.live.current = replace(desk.live.current, number=2)
    assert desk.outcome() is None
    desk.live.loaded = False
    assert desk.outcome() is None


async def test_request_is_looked_into_when_its_answer_is_due_to_be_made_anew(desk: Desk) -> None:
    await desk.counter.get(raw=RAW)
    desk.clock.advance(FRESH_S * 1.2)
    assert desk.outcome() is None
    desk.counter.making.raises = ValueError("nothing comes of the refresh")
    assert (await desk.counter.get(raw=RAW)).outcome == "STALE"
    assert desk.outcome() == "STALE"
    desk.clock.advance(STALE_S)
    assert desk.outcome() is None
    assert desk.counter.recall.stats.stale == 2
    await desk.counter.recall.aclose()


async def test_request_becomes_known_when_its_answer_was_made_for_another_form_of_it(desk: Desk) -> None:
    await desk.counter.get(raw=b"one form")
    assert desk.outcome(b"other form") is None
    assert (await desk.counter.get(raw=b"other form")).outcome == "HIT"
    assert (desk.outcome(b"one form"), desk.outcome(b"other form")) == ("HIT", "HIT")


async def test_request_is_not_known_any_more_when_a_row_behind_its_answer_is_written(desk: Desk) -> None:
    await desk.counter.get("watched", raw=RAW)
    assert desk.outcome() == "HIT"
    desk.counter.recall.wrote("now", ["1"])
    assert desk.outcome() is None


async def test_request_is_not_known_when_its_answer_was_not_worth_keeping(desk: Desk) -> None:
    desk.counter.making.reason = "TIMEOUT"
    await desk.counter.get(raw=RAW)
    assert desk.outcome() is None
