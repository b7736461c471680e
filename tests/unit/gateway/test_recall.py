"""The prediction cache: who gets a kept answer, who waits for one on its way, and who makes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import pytest
from forebay.errors import DeadlineExceeded, Error, Internal, NotUsable, Overloaded, Unavailable

from gateway.batch import Recalled
from gateway.kept_answer import CacheOutcome
from gateway.recall.recall import JITTER_RATIO, REFRESH_PAUSE_S
from runtime.batcher import Criticality
from runtime.clock import ManualClock
from tests.support import manual_loop
from tests.support.recalling import (
    BUDGET_S,
    FRESH_S,
    STALE_S,
    Counter,
    Making,
    given,
    recalling_application,
)

T = TypeVar("T")

CALLERS = range(4)
SUBSETS = [subset for size in range(5) for subset in combinations(CALLERS, size)]


class Bench:
    """Runs programs on the application's clock."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.application = recalling_application(directory, self.clock)

    def counter(self, making: Making | None = None, **settings: float) -> Counter:
        return Counter(self.application, making, **settings)

    def run(self, program: Coroutine[Any, Any, T]) -> T:
        return manual_loop.run(program, self.clock)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# How long an answer lasts.


def test_answer_is_given_again_without_being_made_when_it_is_fresh(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        first = await counter.get()
        bench.clock.advance(FRESH_S * (1 - JITTER_RATIO) - 0.1)
        second = await counter.get()
        assert (first.outcome, first.age_s, first.number) == ("MISS", 0.0, 1)
        assert (second.outcome, second.number) == ("HIT", 1)
        assert second.age_s == pytest.approx(FRESH_S * (1 - JITTER_RATIO) - 0.09)
        assert (first.stages, second.stages) == (["admit", "recall", "predict"], ["admit", "recall"])
        assert counter.making.count == 1

    bench.run(program())


def test_stale_answer_is_given_at_once_while_one_refresh_makes_a_new_one(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        await counter.get()
        bench.clock.advance(FRESH_S * (1 + JITTER_RATIO) + 1)
        before_s = bench.clock.monotonic_s()
        stale = [await counter.get(criticality=Criticality.CRITICAL) for _ in range(10)]
        assert {(one.outcome, one.number) for one in stale} == {("STALE", 1)}
        assert bench.clock.monotonic_s() == before_s
        await asyncio.sleep(0.02)
        after = await counter.get()
        assert (after.outcome, after.number, counter.making.count) == ("HIT", 2, 2)
        assert counter.making.members[1].criticality is Criticality.SHEDDABLE
        assert (counter.recall.stats.refreshes, counter.recall.stats.stale) == (1, 10)

    bench.run(program())


@pytest.mark.parametrize(
    ("pipeline", "lasts_s"), [("cached", FRESH_S + STALE_S), ("fresh_only", FRESH_S * (1 + JITTER_RATIO))]
)
def test_answer_is_made_anew_when_it_is_past_stale(bench: Bench, pipeline: str, lasts_s: float) -> None:
    async def program() -> None:
        counter = bench.counter()
        await counter.get(pipeline)
        bench.clock.advance(lasts_s)
        assert (await counter.get(pipeline)).outcome == "MISS"

    bench.run(program())


def test_answers_made_together_grow_stale_apart(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        await asyncio.gather(*[counter.get(user_id=user_id) for user_id in range(200)])
        bench.clock.advance(FRESH_S)
        outcomes = [(await counter.get(user_id=user_id)).outcome for user_id in range(200)]
        assert 20 < outcomes.count("HIT") < 180
        assert set(outcomes) == {"HIT", "STALE"}

    bench.run(program())


def test_answer_is_made_anew_when_a_row_behind_it_has_grown_too_old(bench: Bench) -> None:
    async def program() -> None:
        making = Making(stale_at_us=bench.clock.now_us() + 2_000_000)
        counter = bench.counter(making)
        await counter.get()
        bench.clock.advance(1.9)
        assert (await counter.get()).outcome == "HIT"
        bench.clock.advance(0.2)
        assert (await counter.get()).outcome == "MISS"

    bench.run(program())


def test_wall_clock_that_goes_back_makes_no_answer_younger(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        await counter.get()
        bench.clock._now_us -= 3_600_000_000  # type: ignore[attr-defined]
        bench.clock.advance(FRESH_S + STALE_S)
        assert (await counter.get()).outcome == "MISS"

    bench.run(program())


def test_nothing_is_kept_when_the_pipeline_declares_no_cache(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        assert [(await counter.get("no_rule")).outcome for _ in range(2)] == ["OFF", "OFF"]
        assert (counter.making.count, counter.recall.stats.entries) == (2, 0)

    bench.run(program())


# What is worth keeping.


@pytest.mark.parametrize("reason", ["STALE", "TIMEOUT", "NO_TIME", "UNAVAILABLE", "CORRUPT", "OVERLOADED"])
def test_answer_is_given_but_not_kept_when_it_is_degraded(bench: Bench, reason: str) -> None:
    async def program() -> None:
        counter = bench.counter(Making(reason=reason))
        assert [(await counter.get()).reasons for _ in range(2)] == [[reason], [reason]]
        assert (counter.making.count, counter.recall.stats.entries) == (2, 0)

    bench.run(program())


def test_answer_about_a_cold_user_is_kept_with_its_degradation_for_the_fresh_time_only(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(Making(reason="NOT_FOUND"))
        await counter.get()
        hit = await counter.get()
        assert (hit.outcome, hit.reasons) == ("HIT", ["NOT_FOUND"])
        bench.clock.advance(FRESH_S * (1 + JITTER_RATIO))
        assert (await counter.get()).outcome == "MISS"

    bench.run(program())


def test_refresh_is_not_tried_again_at_once_when_it_brought_nothing(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        await counter.get()
        bench.clock.advance(FRESH_S * (1 + JITTER_RATIO))
        counter.making.raises = Unavailable("gone")
        for _ in range(20):
            assert (await counter.get()).outcome == "STALE"
            await asyncio.sleep(REFRESH_PAUSE_S / 20)
        assert counter.recall.stats.refreshes == 1
        await asyncio.sleep(0.02)
        await counter.get()
        assert counter.recall.stats.refreshes == 2

    bench.run(program())


# Flights.


def test_many_who_ask_at_once_get_one_making(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        answers = await asyncio.gather(*[counter.get() for _ in range(50)])
        assert counter.making.count == 1
        assert [answer.outcome for answer in answers].count("MISS") == 1
        assert [answer.outcome for answer in answers].count("JOINED") == 49
        assert all(
            answer.age_s == pytest.approx(0.01, abs=1e-5) for answer in answers if answer.outcome == "JOINED"
        )
        assert {tuple(answer.stages) for answer in answers if answer.outcome == "JOINED"} == {
            ("admit", "recall")
        }

    bench.run(program())


@pytest.mark.parametrize("cancelled", SUBSETS)
@pytest.mark.parametrize("refreshes", [False, True])
def test_others_get_the_answer_when_some_callers_are_cancelled(
    bench: Bench, cancelled: tuple[int, ...], refreshes: bool
) -> None:
    async def program() -> None:
        counter = bench.counter()
        if refreshes:
            await counter.get()
            bench.clock.advance(FRESH_S + STALE_S - 0.012)
            await counter.get()  # It starts a refresh; the callers come when the old answer is spent.
            bench.clock.advance(0.003)
        callers = [counter.ask() for _ in CALLERS]
        await asyncio.sleep(0.005)
        for index in cancelled:
            callers[index].cancel()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        for index, end in enumerate(ended):
            assert isinstance(end, asyncio.CancelledError) == (index in cancelled)
        await asyncio.sleep(0.01)
        made = 3 if refreshes else 1  # Nobody waits for a refresh: it gives way to everybody.
        assert (counter.making.ended, counter.making.count) == (made, made)
        after = await counter.get()
        assert (after.outcome, after.number) == ("HIT", made)
        assert not counter.recall._tasks
        assert not len(counter.recall._flights)

    bench.run(program())


def test_nobody_waits_for_a_flight_that_is_less_critical(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.050))
        sheddable = counter.ask(criticality=Criticality.SHEDDABLE)
        await asyncio.sleep(0.010)
        counter.making.takes_s = 0.005
        critical = counter.ask(criticality=Criticality.CRITICAL)
        await asyncio.sleep(0.001)
        others = [counter.ask(criticality=level) for level in Criticality]
        assert [(one.outcome, one.number) for one in await asyncio.gather(critical, *others)] == [
            ("MISS", 2),
            *[("JOINED", 2)] * 3,
        ]
        assert (await sheddable).number == 1
        after = await counter.get()
        assert (after.outcome, after.number) == ("HIT", 2)  # The one that began later stays.

    bench.run(program())


def test_flight_goes_on_with_the_pipelines_budget_when_the_first_callers_deadline_passes(
    bench: Bench,
) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.050))
        hurried = counter.ask(timeout_s=0.020)
        await asyncio.sleep(0.001)
        patient = counter.ask()
        with pytest.raises(DeadlineExceeded) as raised:
            await hurried
        assert raised.value.metadata["stage"] == "recall"
        assert (await patient).outcome == "JOINED"
        assert counter.making.members[0].deadline.at_s == pytest.approx(1000.0 + BUDGET_S)

    bench.run(program())


def test_joiner_gets_deadline_exceeded_in_time_when_the_flight_is_slower_than_it_can_wait(
    bench: Bench,
) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.090))
        first = counter.ask()
        await asyncio.sleep(0.001)
        with pytest.raises(DeadlineExceeded):
            await counter.get(timeout_s=0.010)
        assert bench.clock.monotonic_s() == pytest.approx(1000.011)
        assert (await first).outcome == "MISS"

    bench.run(program())


def test_everybody_gets_an_error_of_their_own_when_a_flight_fails(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(Making(raises=NotUsable("no vector", view="taste")))
        callers = [counter.ask() for _ in CALLERS]
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert counter.making.count == 1
        assert [(type(end), str(end), end.metadata) for end in ended if isinstance(end, Error)] == [
            (NotUsable, "no vector", {"view": "taste"}) for _ in CALLERS
        ]
        assert len({id(end) for end in ended}) == len(CALLERS)

    bench.run(program())


def test_nothing_of_an_unknown_exception_is_told_when_a_flight_breaks(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def program() -> None:
        counter = bench.counter(Making(raises=ValueError("secret")))
        with pytest.raises(Internal, match=r"internal error [0-9a-f]{16}"):
            await counter.get()
        counter.making.raises = None
        assert (await counter.get()).outcome == "MISS"

    with caplog.at_level(logging.ERROR):
        bench.run(program())
    assert "secret" in caplog.text


SHORT: list[tuple[str, BaseException | None]] = [
    ("TIMEOUT", None),
    ("NO_TIME", None),
    ("OVERLOADED", None),
    ("UNAVAILABLE", None),
    ("", DeadlineExceeded("late")),
    ("", Overloaded("shed")),
    ("", Unavailable("gone")),
]


@pytest.mark.parametrize(("reason", "raises"), SHORT)
def test_joiners_with_time_left_make_one_more_when_a_flight_falls_short(
    bench: Bench, reason: str, raises: BaseException | None
) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.020, reason=reason, raises=raises))
        first = counter.ask()
        await asyncio.sleep(0.010)
        joiners = [counter.ask() for _ in range(20)]
        counter.making.reason, counter.making.raises = "", None
        shortened = (await asyncio.gather(first, return_exceptions=True))[0]
        assert isinstance(shortened, Error) or shortened.reasons == [reason]
        answers = await asyncio.gather(*joiners)
        assert counter.making.count == 2
        assert [answer.outcome for answer in answers].count("MISS") == 1
        assert {(answer.number, len(answer.reasons)) for answer in answers} == {(2, 0)}

    bench.run(program())


@pytest.mark.parametrize(("reason", "raises"), SHORT)
def test_joiners_take_what_comes_when_the_second_flight_falls_short_too(
    bench: Bench, reason: str, raises: BaseException | None
) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.010, reason=reason, raises=raises))
        callers = [counter.ask() for _ in range(20)]
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert counter.making.count == 2
        for end in ended:
            assert isinstance(end, type(raises)) if raises else end.reasons == [reason]

    bench.run(program())


def test_joiner_takes_a_shortened_answer_when_it_has_no_time_for_another(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.060, reason="TIMEOUT"))
        first = counter.ask()
        await asyncio.sleep(0.010)
        second = await counter.get()
        assert (second.outcome, second.reasons) == ("JOINED", ["TIMEOUT"])
        await first

    bench.run(program())


def test_requests_dont_meet_when_their_keys_differ(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        asked = [counter.get(), counter.get(user_id=2), counter.get(top=3), counter.get("fresh_only")]
        answers = await asyncio.gather(*asked)
        assert [answer.outcome for answer in answers] == ["MISS"] * 4

    bench.run(program())


def test_an_answer_from_elsewhere_keeps_its_outcome_and_is_not_kept_here(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        template = await counter.recall.answer(counter.member(user_id=9), counter.making)
        assert isinstance(template, Recalled)

        def precomputed(member: Any) -> Recalled:
            member.degrade("predict", "plain", "ERROR", "PRECOMPUTED", 1)
            return Recalled(member, template.kept, CacheOutcome.PRECOMPUTED, 7_000_000)

        counter.making.recalled = precomputed
        answers = await asyncio.gather(counter.get(), counter.get())
        assert {(one.outcome, one.age_s, *one.reasons) for one in answers} == {("PRECOMPUTED", 7.0, "ERROR")}
        assert (await counter.get()).outcome == "PRECOMPUTED"
        assert counter.making.count == 3

    bench.run(program())


# Releases.


def test_answer_of_an_older_release_is_no_hit(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        await counter.get(release=1)
        counter.recall.adopt(2)
        assert (await counter.get(release=2)).outcome == "MISS"
        assert (await counter.get(release=2)).outcome == "HIT"
        assert (await counter.get(release=1)).outcome == "MISS"
        assert (await counter.get(release=2)).outcome == "HIT"

    bench.run(program())


def test_nobody_joins_or_keeps_a_flight_of_the_old_release_when_one_is_published_meanwhile(
    bench: Bench,
) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.030))
        counter.recall.adopt(1)
        old = [counter.ask(release=1), counter.ask(release=1)]
        await asyncio.sleep(0.010)
        counter.recall.adopt(2)
        counter.making.takes_s = 0.005
        new = [counter.ask(release=2), counter.ask(release=2)]
        assert [(one.outcome, one.number) for one in await asyncio.gather(*new)] == [
            ("MISS", 2),
            ("JOINED", 2),
        ]
        late = [(one.outcome, one.number) for one in await asyncio.gather(*old)]
        assert late == [("MISS", 1), ("JOINED", 1)]
        after = await counter.get(release=2)
        assert (after.outcome, after.number, counter.making.count) == ("HIT", 2, 2)

    bench.run(program())


def test_all_is_forgotten_when_releases_are_numbered_anew(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        counter.recall.adopt(3)
        await counter.get(release=3)
        counter.recall.adopt(1)
        counter.recall.adopt(3)
        assert (await counter.get(release=3)).outcome == "MISS"

    bench.run(program())


# Writes.


def test_answers_of_an_entity_fall_when_its_row_is_written(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        for user_id in (1, 2):
            await counter.get("watched", user_id)
            await counter.get("cached", user_id)
        counter.recall.wrote("now", ["1"])
        counter.recall.wrote("profile", ["2"])
        outcomes = [
            (await counter.get(pipeline, user_id)).outcome
            for pipeline in ("watched", "cached")
            for user_id in (1, 2)
        ]
        assert outcomes == ["MISS", "HIT", "HIT", "HIT"]
        assert counter.recall.stats.invalidated == 1

    bench.run(program())


def test_flight_is_not_kept_nor_given_to_later_callers_when_a_row_it_reads_is_written(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(Making(takes_s=0.030))
        before = [counter.ask("watched"), counter.ask("watched")]
        other = counter.ask("watched", 2)
        await asyncio.sleep(0.010)
        counter.recall.wrote("now", ["1"])
        after = [counter.ask("watched"), counter.ask("watched")]
        assert [one.number for one in await asyncio.gather(*before)] == [1, 1]
        assert {(one.outcome, one.number) for one in await asyncio.gather(*after)} == {
            ("MISS", 3),
            ("JOINED", 3),
        }
        await other
        assert [(await counter.get("watched", user_id)).number for user_id in (1, 2)] == [3, 2]

    bench.run(program())


# Standing in where none can be made.


def test_answer_of_any_release_stands_in_when_it_is_within_the_bound(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(stale_answer_max_age_s=600.0)
        for pipeline in ("standing_in", "only_standing_in"):
            await counter.get(pipeline, release=1)
            counter.recall.adopt(2)
            bench.clock.advance(500.0)
            found = counter.recall.kept(counter.member(pipeline, release=2))
            assert found is not None
            assert (given(found).outcome, given(found).age_s) == ("STALE", pytest.approx(500.01))
            bench.clock.advance(100.0)
            assert counter.recall.kept(counter.member(pipeline, release=2)) is None
            counter.recall.adopt(1)

    bench.run(program())


def test_nothing_stands_in_when_the_pipeline_doesnt_declare_it(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        await counter.get("cached")
        await counter.get("no_rule")
        assert counter.recall.kept(counter.member("cached")) is None
        assert counter.recall.kept(counter.member("no_rule")) is None

    bench.run(program())


def test_answers_kept_only_to_stand_in_are_always_made(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter(Making(reason="NOT_FOUND"))
        answers = [await counter.get("only_standing_in") for _ in range(2)]
        assert [(one.outcome, one.number, one.reasons) for one in answers] == [
            ("OFF", 1, ["NOT_FOUND"]),
            ("OFF", 2, ["NOT_FOUND"]),
        ]

    bench.run(program())


# Stopping.


def test_everybody_gets_unavailable_when_the_server_stops(bench: Bench) -> None:
    async def program() -> None:
        counter = bench.counter()
        callers = [counter.ask() for _ in CALLERS]
        await asyncio.sleep(0.005)
        await counter.recall.aclose()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(end) for end in ended] == [Unavailable] * len(CALLERS)
        with pytest.raises(Unavailable):
            await counter.get()
        assert len(asyncio.all_tasks()) == 1

    bench.run(program())
