"""When a call is made again: the policy alone, on times that the test makes up."""

from __future__ import annotations

import math

import pytest
from forebay._addresses import REST_S, Rotation
from forebay._channel import Repeats
from forebay._retry import Budget, Counts, Course, Policy, Retry
from forebay._status import Failure
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, InvalidRequest, NotFound, Overloaded, Unavailable

GONE = Failure(Unavailable("gone"), 0.0)
FIRST_S = 100.0


def policy(addresses: int = 1, hedge_after_s: float | None = None, **retry: float) -> Policy:
    """A policy whose jitter is always the most: delays are whole."""
    settings = Retry(**{"attempts": 3, "first_delay_s": 0.02, **retry})  # type: ignore[arg-type]
    return Policy(settings, Rotation(addresses), hedge_after_s, 0.05, jitter=lambda: 1.0)


def begun(
    policy: Policy, repeats: Repeats = Repeats.RETRY, timeout_s: float = 1.0, now_s: float = FIRST_S
) -> tuple[Course, int]:
    course = policy.course(repeats, Deadline.after(timeout_s, now_s))
    return course, course.begin(now_s)


def overloaded(after_s: float) -> Failure:
    return Failure(Overloaded("full", retry_after_s=after_s), after_s)


def test_delay_doubles_up_to_its_most_when_the_address_stays_gone() -> None:
    course, _ = begun(policy(attempts=5, max_delay_s=0.05), timeout_s=10)
    now_s, delays = FIRST_S, []
    while not course.failed(0, GONE, now_s):
        assert course.next_s is not None
        delays.append(round(course.next_s - now_s, 6))
        now_s = course.next_s
        assert course.due(now_s) == 0
    assert delays == [0.02, 0.04, 0.05, 0.05]


def test_the_server_is_left_alone_for_as_long_as_it_asks() -> None:
    course, _ = begun(policy(max_delay_s=0.1))
    assert not course.failed(0, overloaded(0.7), FIRST_S)
    assert course.next_s == pytest.approx(FIRST_S + 0.7 + 0.02)


@pytest.mark.parametrize(
    ("asked_s", "timeout_s", "goes_on"), [(0.7, 0.73, True), (0.7, 0.721, False), (0.7, 0.5, False)]
)
def test_no_attempt_is_planned_that_would_begin_too_late(
    asked_s: float, timeout_s: float, goes_on: bool
) -> None:
    course, _ = begun(policy(), timeout_s=timeout_s)
    assert course.failed(0, overloaded(asked_s), FIRST_S) is not goes_on
    assert (course.next_s is not None) is goes_on


@pytest.mark.parametrize("error", [NotFound("p"), DeadlineExceeded("late"), Overloaded("full")])
def test_call_is_over_when_the_failure_must_not_be_repeated(error: Exception) -> None:
    course, _ = begun(policy(addresses=2))
    assert course.failed(0, Failure(error, None), FIRST_S)  # type: ignore[arg-type]


def test_writes_are_never_repeated() -> None:
    course, _ = begun(policy(addresses=3), Repeats.NEVER)
    assert course.failed(0, GONE, FIRST_S)


def test_another_address_is_asked_at_once_when_one_fails() -> None:
    for failure in (GONE, overloaded(0.5)):
        course, first = begun(policy(addresses=2))
        assert not course.failed(first, failure, FIRST_S)
        assert course.next_s == FIRST_S
        assert course.due(FIRST_S) == 1 - first


def test_the_address_that_may_be_asked_first_is_next_when_all_have_failed() -> None:
    course, first = begun(policy(addresses=2))
    course.failed(first, overloaded(0.5), FIRST_S)
    second = course.due(FIRST_S)
    assert second == 1 - first
    assert not course.failed(second, overloaded(0.1), FIRST_S)
    assert course.next_s == pytest.approx(FIRST_S + 0.1 + 0.04)
    assert course.due(FIRST_S + 0.14) == second


def test_an_outage_is_hardly_multiplied_when_every_call_fails() -> None:
    shared = policy(budget=0.1)
    attempts = 0
    for _ in range(1000):
        course, _ = begun(shared)
        attempts += 1
        while not course.failed(0, GONE, FIRST_S):
            course.due(course.next_s or 0.0)
            attempts += 1
    assert 1000 + 10 + 90 <= attempts <= 1000 + 10 + 100


def test_a_budget_pays_for_a_burst_but_not_for_a_storm() -> None:
    budget = Budget(0.1, 10, 100)
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == 100


def test_nothing_is_extra_when_the_budget_is_zero() -> None:
    course, _ = begun(policy(addresses=2, budget=0))
    assert course.failed(0, GONE, FIRST_S)


def test_a_slow_call_is_hedged_to_another_address() -> None:
    course, first = begun(policy(2, hedge_after_s=0.01), Repeats.HEDGE)
    assert course.hedges
    assert course.next_s == pytest.approx(FIRST_S + 0.01)
    assert course.due(FIRST_S + 0.01) == 1 - first
    assert course.next_s is None
    # The first fails while the other is under way: nothing more starts, and the call isn't over.
    assert not course.failed(first, GONE, FIRST_S + 0.02)
    assert course.next_s is None
    assert not course.failed(1 - first, GONE, FIRST_S + 0.02)
    assert course.next_s is not None


def test_a_failure_triggers_the_other_address_before_the_hedge_would() -> None:
    course, first = begun(policy(2, hedge_after_s=0.5), Repeats.HEDGE)
    assert not course.failed(first, overloaded(0.2), FIRST_S + 0.01)
    assert course.next_s == FIRST_S + 0.01
    assert course.due(FIRST_S + 0.01) == 1 - first


@pytest.mark.parametrize("repeats", [Repeats.NEVER, Repeats.RETRY])
def test_only_reads_are_hedged(repeats: Repeats) -> None:
    course, _ = begun(policy(2, hedge_after_s=0.01), repeats)
    assert not course.hedges
    assert course.next_s is None


def test_nothing_is_hedged_when_there_is_one_address() -> None:
    course, _ = begun(policy(1, hedge_after_s=0.01), Repeats.HEDGE)
    assert not course.hedges


def test_hedges_are_a_twentieth_of_the_calls_when_all_are_slow() -> None:
    shared = policy(2, hedge_after_s=0.01)
    hedged = 0
    for _ in range(1000):
        course, _ = begun(shared, Repeats.HEDGE)
        hedged += course.due(FIRST_S + 0.01) is not None
    assert 45 <= hedged <= 51


def test_overload_ends_the_hedging_until_it_is_earned_again() -> None:
    shared = policy(2, hedge_after_s=0.01)
    course, first = begun(shared, Repeats.HEDGE)
    course.failed(first, overloaded(0.2), FIRST_S)
    course, _ = begun(shared, Repeats.HEDGE)
    assert course.due(FIRST_S + 0.01) is None


def test_no_hedge_starts_when_too_little_time_is_left() -> None:
    course, _ = begun(policy(2, hedge_after_s=0.5), Repeats.HEDGE, timeout_s=0.501)
    assert course.due(FIRST_S + 0.5) is None


def test_a_call_that_got_somewhere_has_its_attempts_again() -> None:
    course, _ = begun(policy(attempts=2))
    for _ in range(5):
        assert not course.failed(0, GONE, FIRST_S)
        course.due(FIRST_S)
        course.renew()


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1.0])
def test_half_of_the_delay_is_random(drawn: float) -> None:
    course, _ = begun(Policy(Retry(), Rotation(1), jitter=lambda: drawn))
    assert not course.failed(0, GONE, FIRST_S)
    assert course.next_s == pytest.approx(FIRST_S + 0.01 + 0.01 * drawn)


@pytest.mark.parametrize(
    ("field", "value"),
    [("attempts", 0), ("first_delay_s", -1), ("max_delay_s", math.nan), ("budget", -0.1), ("floor_s", -1)],
)
def test_setting_is_refused_when_it_makes_no_sense(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Retry(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == f"retry.{field}"


@pytest.mark.parametrize(("after_s", "share"), [(-1.0, 0.05), (math.nan, 0.05), (0.1, 2.0), (0.1, math.nan)])
def test_hedging_is_refused_when_it_makes_no_sense(after_s: float, share: float) -> None:
    with pytest.raises(InvalidRequest):
        Policy(Retry(), Rotation(2), after_s, share)


def test_addresses_take_turns() -> None:
    rotation = Rotation(3)
    assert [rotation.pick(rotation.turn(), (), FIRST_S) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_an_address_that_is_gone_rests_and_one_call_tries_it_again() -> None:
    rotation = Rotation(2)
    rotation.rest(0, FIRST_S)
    assert {rotation.pick(rotation.turn(), (), FIRST_S + REST_S / 2) for _ in range(10)} == {1}
    later_s = FIRST_S + REST_S
    assert [rotation.pick(rotation.turn(), (), later_s) for _ in range(10)].count(0) == 1
    rotation.wake(0)
    assert [rotation.pick(rotation.turn(), (), later_s) for _ in range(10)].count(0) == 5


@pytest.mark.parametrize(
    ("error", "awake"),
    [
        (NotFound("p"), True),
        (Overloaded("full"), True),
        (DeadlineExceeded("late"), False),
        (GONE.error, False),
    ],
)
def test_an_address_that_answers_takes_its_turns_again_whatever_it_answers(error: Error, awake: bool) -> None:
    shared = policy(addresses=2)
    shared.rotation.rest(0, FIRST_S)
    course, probed = begun(shared, now_s=FIRST_S + REST_S)
    assert probed == 0
    course.failed(0, Failure(error, None), FIRST_S + REST_S)
    picked = [shared.rotation.pick(0, (), FIRST_S + REST_S) for _ in range(2)]
    assert picked == ([0, 0] if awake else [1, 1])


def test_what_was_done_is_counted() -> None:
    shared = policy(2, hedge_after_s=0.01)
    course, first = begun(shared, Repeats.HEDGE)
    other = course.due(FIRST_S + 0.01)
    assert other is not None
    course.failed(first, GONE, FIRST_S + 0.02)
    course.failed(other, GONE, FIRST_S + 0.02)
    begun(shared, Repeats.NEVER)
    assert shared.counts() == Counts(calls=2, retries=1, hedges=1)


def test_a_resting_address_is_asked_when_no_other_is_left() -> None:
    rotation = Rotation(2)
    rotation.rest(0, FIRST_S)
    assert rotation.pick(0, {1}, FIRST_S) == 0
    rotation.rest(1, FIRST_S)
    assert rotation.pick(1, (), FIRST_S) == 1
