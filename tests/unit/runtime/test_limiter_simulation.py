"""A limiter under load, played on a manual clock with the batcher's schedule behind it: what it finds, who is
served, and how soon it is over."""

from collections.abc import Callable, Iterable
from itertools import chain
from random import Random

import pytest

from runtime.batcher import BatchLimits, Criticality
from runtime.limiter import Limiter, LimiterLimits, Outcome, Permit
from tests.support.overload import Load, Server, overload
from tests.support.simulation import ServiceTime, Visit, poisson, visit

SERVICE_S = 0.005
CAPACITY = 1.0 / SERVICE_S
TIMEOUT_S = 0.05
SERVICE = ServiceTime(SERVICE_S, 0.0, noise=0.05)
CRITICAL, DEFAULT, SHEDDABLE = Criticality


def mixed(random: Random) -> Criticality:
    """One in five is critical, three in ten can be shed."""
    return random.choices([CRITICAL, DEFAULT, SHEDDABLE], [0.2, 0.5, 0.3])[0]


def coming(
    load: float,
    from_s: float,
    to_s: float,
    criticality: Callable[[Random], Criticality] = lambda _: DEFAULT,
) -> Iterable[Visit]:
    """Yield arrivals at `load` times the capacity."""
    return poisson(
        Random(round(1000 * from_s) + 2),
        rate=load * CAPACITY,
        duration_s=to_s - from_s,
        timeout_s=lambda _: TIMEOUT_S,
        criticality=criticality,
        from_s=from_s,
    )


def server(service: ServiceTime = SERVICE) -> Server:
    """Batching off, a model of 5 ms, and a call that costs the loop 0.2 ms, refused or not."""
    noise = Random(1)
    return Server(lambda rows, _: service.of(rows, noise))


def served(load: Load, from_s: float, to_s: float) -> float:
    return load.goodput(from_s, to_s) / CAPACITY


@pytest.mark.parametrize("load", [2.0, 5.0, 10.0])
def test_goodput_holds_in_overload(load: float) -> None:
    peak = max(served(overload(coming(at, 0, 5), server(), Limiter()), 1, 5) for at in (0.9, 1.2))
    result = overload(coming(load, 0, 5, mixed), server(), Limiter())
    assert served(result, 0, 5) >= 0.95 * peak


@pytest.mark.parametrize("load", [2.0, 5.0, 10.0])
def test_who_is_let_in_is_answered_in_time(load: float) -> None:
    result = overload(coming(load, 0, 5), server(), Limiter())
    spent_s = sorted(visit.ended_s - visit.submitted_s for visit in result.visits if visit.outcome == "done")
    assert spent_s[len(spent_s) * 99 // 100] < 0.9 * TIMEOUT_S
    assert result.share("overdue", 0, 5) == 0.0
    assert result.share("late", 0, 5) < 0.001


def test_requests_wait_for_less_of_their_time_than_the_batcher_alone_would_let_them() -> None:
    """The batcher takes in whoever is just in time; the limiter leaves the rest of the queue empty."""

    def median_s(limiter: Limiter) -> float:
        result = overload(coming(3, 0, 5), server(), limiter)
        spent_s = sorted(
            visit.ended_s - visit.submitted_s for visit in result.visits if visit.outcome == "done"
        )
        return spent_s[len(spent_s) // 2]

    assert median_s(Limiter()) < 0.8 * median_s(Limiter(LimiterLimits(adaptive=False)))


def test_nearly_all_of_the_critical_are_served_at_twice_the_load() -> None:
    result = overload(coming(2, 0, 10, mixed), server(), Limiter())
    assert result.share("done", 0, 10, CRITICAL) >= 0.99
    assert 0.4 < result.share("done", 0, 10, DEFAULT) < 0.8
    assert result.share("done", 0, 10, SHEDDABLE) < 0.1


def test_the_sheddable_give_way_first_when_there_is_little_too_much() -> None:
    result = overload(coming(1.2, 0, 10, mixed), server(), Limiter())
    shares = [result.share("done", 0, 10, criticality) for criticality in Criticality]
    assert shares[0] >= 0.995
    assert shares[1] > 0.85
    assert shares[1] > shares[2] > 0.3


def test_each_criticality_alone_gets_the_whole_server() -> None:
    for criticality in Criticality:
        result = overload(coming(3, 0, 5, lambda _, it=criticality: it), server(), Limiter())  # type: ignore[misc]
        assert served(result, 1, 5) > 0.95


def test_the_limit_finds_the_knee_and_stays_there() -> None:
    """Of 50 ms, 0.6 may be spent: six at 5 ms each."""
    result = overload(coming(3, 0, 10), server(), Limiter())
    limits = result.limits_between(2, 10)
    assert min(limits) >= 4
    assert max(limits) <= 8


def test_little_is_refused_while_there_is_room() -> None:
    result = overload(coming(0.7, 0, 20, mixed), server(), Limiter())
    assert result.share("done", 0, 20) > 0.97
    assert result.share("done", 0, 20, CRITICAL) == 1.0


@pytest.mark.parametrize("load", [3.0, 10.0])
def test_overload_leaves_nothing_behind_after_two_seconds(load: float) -> None:
    arrivals = chain(coming(0.5, 0, 3, mixed), coming(load, 3, 8, mixed), coming(0.5, 8, 14, mixed))
    result = overload(arrivals, server(), Limiter())
    assert result.share("done", 10, 14) >= 0.995
    assert result.share("done", 8.2, 10) > 0.9


def test_a_server_that_gets_slower_is_given_less() -> None:
    result = overload(
        coming(0.7, 0, 12), Server(lambda _, now_s: SERVICE_S if now_s < 4 else 4 * SERVICE_S), Limiter()
    )
    assert served(result, 6, 12) > 0.9 / 4
    assert result.share("overdue", 5, 12) < 0.01
    assert result.share("late", 5, 12) < 0.01


def test_a_server_that_gets_faster_is_given_more_within_two_seconds() -> None:
    result = overload(
        coming(0.7, 0, 12), Server(lambda _, now_s: 4 * SERVICE_S if now_s < 6 else SERVICE_S), Limiter()
    )
    assert result.share("done", 8, 12) > 0.97


def test_a_stall_is_over_soon_after_it_ends() -> None:
    """Nothing is answered in time for two seconds."""
    stalled = Server(lambda _, now_s: 0.3 if 3 <= now_s < 5 else SERVICE_S)
    result = overload(coming(0.7, 0, 10), stalled, Limiter())
    assert result.share("done", 7, 10) > 0.97


def test_a_herd_is_served_as_far_as_it_can_be() -> None:
    herd = [visit(5.0, TIMEOUT_S) for _ in range(300)]
    result = overload(chain(coming(0.3, 0, 5), herd, coming(0.3, 5, 10)), server(), Limiter())
    done = sum(visit.outcome == "done" for visit in herd)
    assert 5 <= done <= TIMEOUT_S / SERVICE_S
    assert all(visit.outcome != "overdue" for visit in result.visits)
    assert result.share("done", 5.2, 10) > 0.99


def test_nobody_is_starved_while_the_more_critical_leave_room() -> None:
    """Critical ones take half; the sheddable want four times the rest, and get it all."""

    def criticality(random: Random) -> Criticality:
        return CRITICAL if random.random() < 0.2 else SHEDDABLE

    result = overload(coming(2.5, 0, 10, criticality), server(), Limiter())
    assert result.share("done", 0, 10, CRITICAL) > 0.99
    seconds = [result.share("done", at, at + 1, SHEDDABLE) for at in range(1, 10)]
    assert min(seconds) > 0.1


def test_a_limiter_at_its_floor_still_tries() -> None:
    """Nothing is ever in time: one is let in now and then all the same, and the first that is counts."""
    limiter = Limiter()
    hopeless = Server(lambda _, now_s: 0.2 if now_s < 5 else SERVICE_S)
    result = overload(coming(2, 0, 8), hopeless, limiter)
    assert max(result.limits_between(2, 5)) <= 6
    tried = [visit for visit in result.came(2, 5) if visit.outcome not in ("shed", "refused")]
    assert len(tried) >= 10
    assert served(result, 6, 8) > 0.9


def test_goodput_holds_where_batches_make_the_server_fast() -> None:
    service = ServiceTime(fixed_s=0.0003, row_s=0.00005, noise=0.1)
    noise, limits = Random(1), BatchLimits()
    rate = 3 * service.capacity(limits.members)
    arrivals = poisson(Random(2), rate=rate, duration_s=0.6, timeout_s=lambda _: 0.025)
    batching = Server(lambda rows, _: service.of(rows, noise), limits, call_s=0.0, reply_s=0.0)
    result = overload(arrivals, batching, Limiter())
    assert result.goodput(0.1, 0.6) > 0.9 * service.capacity(limits.members)


def test_batches_stay_large_when_they_take_most_of_the_time_there_is() -> None:
    """Deadlines that a batch and a half takes: with fewer under way batches would only be smaller."""
    service = ServiceTime(fixed_s=0.005, row_s=0.00001, noise=0.1)
    noise, limits = Random(1), BatchLimits()
    rate = 0.5 * service.capacity(limits.members)
    arrivals = poisson(Random(2), rate=rate, duration_s=2.0, timeout_s=lambda _: 0.0125)
    batching = Server(lambda rows, _: service.of(rows, noise), limits, call_s=0.0, reply_s=0.0)
    assert overload(arrivals, batching, Limiter()).share("done", 0.5, 2.0) > 0.95


def test_a_burst_is_over_with_its_deadlines_when_streams_are_few() -> None:
    """3,000 calls at once, and each costs the loop 0.2 ms, even to refuse. What waits in the client gives
    up there; what has been sent has to be refused, one after another, while newcomers wait behind it."""

    def served_after(streams: int) -> float:
        burst = [visit(2.0, TIMEOUT_S) for _ in range(3000)]
        arrivals = chain(coming(0.5, 0, 2), burst, coming(0.5, 2, 4))
        result = overload(arrivals, Server(lambda *_: SERVICE_S, streams=streams), Limiter())
        return result.share("done", 2.1, 2.5)

    assert served_after(100) > 0.95
    assert served_after(100_000) < 0.1


def test_a_limit_of_one_does_not_keep_batches_at_one() -> None:
    """Where one at a time runs, only more at a time can show that batches cost hardly more."""
    service = ServiceTime(fixed_s=0.005, row_s=0.00001, noise=0.1)
    noise, limits = Random(1), BatchLimits()
    limiter, now_s = Limiter(), -10.0
    while limiter.limit() > 1:
        permit = limiter.admit(now_s, DEFAULT, 0.0125)
        assert isinstance(permit, Permit)
        now_s += 0.02
        limiter.release(permit, now_s, 0.01, Outcome.MISSED)
    arrivals = poisson(Random(2), rate=5_000, duration_s=4.0, timeout_s=lambda _: 0.0125)
    batching = Server(lambda rows, _: service.of(rows, noise), limits, call_s=0.0, reply_s=0.0)
    result = overload(arrivals, batching, limiter)
    assert result.share("done", 2, 4) > 0.95
