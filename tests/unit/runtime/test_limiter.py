import pytest

from runtime.batcher import Criticality
from runtime.limiter import Limiter, LimiterLimits, Outcome, Permit, Refusal

CRITICAL, DEFAULT, SHEDDABLE = Criticality
GIVEN_S = 0.05


def filled(
    limiter: Limiter, count: int, criticality: Criticality = DEFAULT, now_s: float = 0.0
) -> list[Permit]:
    """Admit as many; fail where one isn't."""
    permits = [limiter.admit(now_s, criticality, GIVEN_S) for _ in range(count)]
    assert all(isinstance(permit, Permit) for permit in permits)
    return [permit for permit in permits if isinstance(permit, Permit)]


def refused(limiter: Limiter, criticality: Criticality = DEFAULT, now_s: float = 0.0) -> Refusal:
    refusal = limiter.admit(now_s, criticality, GIVEN_S)
    assert isinstance(refusal, Refusal)
    return refusal


def learnt(limit: int, *, service_s: float = 0.005, rounds: int = 60) -> Limiter:
    """Return a limiter behind which one at a time is answered, kept as full as it lets itself be."""
    limiter, now_s = Limiter(LimiterLimits(ceiling=limit)), 0.0
    waiting: list[Permit] = []
    for _ in range(rounds * 20):
        while isinstance(permit := limiter.admit(now_s, DEFAULT, GIVEN_S), Permit):
            waiting.append(permit)
        now_s += service_s
        first = waiting.pop(0)
        in_time = now_s < first.admitted_s + GIVEN_S
        outcome = Outcome.ANSWERED if in_time else Outcome.MISSED
        limiter.release(first, now_s, now_s - service_s - first.admitted_s, outcome)
    for permit in waiting:
        limiter.release(permit, now_s, 0.0, Outcome.GONE)
    return limiter


def test_it_starts_at_the_ceiling() -> None:
    limiter = Limiter(LimiterLimits(ceiling=7))
    filled(limiter, 7)
    assert refused(limiter).limit == 7


def test_the_less_critical_do_not_count_for_the_more_critical() -> None:
    limiter = Limiter(LimiterLimits(ceiling=5))
    filled(limiter, 5, SHEDDABLE)
    filled(limiter, 5, DEFAULT)
    filled(limiter, 5, CRITICAL)
    assert limiter.in_flight == 15
    refused(limiter, CRITICAL)


def test_the_more_critical_count_for_the_less_critical() -> None:
    limiter = Limiter(LimiterLimits(ceiling=5))
    filled(limiter, 3, CRITICAL)
    filled(limiter, 2, DEFAULT)
    refused(limiter, DEFAULT)
    refused(limiter, SHEDDABLE)
    filled(limiter, 2, CRITICAL)


def test_a_queue_at_six_tenths_of_what_is_given_is_as_long_as_it_gets() -> None:
    """5 ms each of 50 ms: 0.6 of it is six."""
    assert 5 <= learnt(512).limit(DEFAULT) <= 8


def test_the_limit_is_never_above_the_ceiling() -> None:
    assert learnt(3).limit(DEFAULT) == 3


def test_it_stays_at_the_ceiling_when_it_is_not_adaptive() -> None:
    limiter = Limiter(LimiterLimits(ceiling=4, adaptive=False))
    for round_number in range(50):
        now_s = 0.2 * round_number
        for permit in filled(limiter, 4, now_s=now_s):
            limiter.release(permit, now_s + 0.1, 0.1, Outcome.MISSED)
    assert limiter.limit(DEFAULT) == 4


def test_a_miss_without_a_wait_is_not_held_against_the_number() -> None:
    limiter = Limiter()
    for round_number in range(50):
        now_s = 0.2 * round_number
        for permit in filled(limiter, 4, now_s=now_s):
            limiter.release(permit, now_s + 0.06, 0.0, Outcome.MISSED)
    assert limiter.stats.cuts == 0
    filled(limiter, 4, now_s=100.0)


def test_misses_after_a_wait_cut_the_limit() -> None:
    limiter = Limiter()
    for round_number in range(10):
        now_s = 0.2 * round_number
        for permit in filled(limiter, min(5, limiter.limit(DEFAULT)), now_s=now_s):
            limiter.release(permit, now_s + 0.05, 0.04, Outcome.MISSED)
    assert limiter.stats.cuts > 3
    assert limiter.limit(DEFAULT) == 1


def test_who_is_given_up_with_much_time_left_says_nothing_about_load() -> None:
    """The batcher's estimate is wrong after a stall: it gives up everybody at once, whoever comes."""
    limiter = Limiter()
    for round_number in range(50):
        now_s = 0.2 * round_number
        for permit in filled(limiter, 4, now_s=now_s):
            limiter.release(permit, now_s + 0.001, 0.001, Outcome.MISSED)
    assert limiter.stats.cuts == 0
    assert limiter.stats.gone == 200


def test_who_came_with_less_time_than_it_takes_says_nothing_about_load() -> None:
    """Calls that have spent their time in front of the process are late whoever else is under way."""
    limiter = Limiter()
    for round_number in range(5):
        now_s = 0.2 * round_number
        for permit in filled(limiter, 4, now_s=now_s):
            limiter.release(permit, now_s + 0.025, 0.02, Outcome.ANSWERED)
    before = limiter.limit(DEFAULT)
    for round_number in range(5, 50):
        now_s = 0.2 * round_number
        for _ in range(4):
            hurried = limiter.admit(now_s, DEFAULT, 0.004)
            assert isinstance(hurried, Permit)
            limiter.release(hurried, now_s + 0.004, 0.004, Outcome.MISSED)
    assert limiter.stats.cuts == 0
    assert limiter.limit(DEFAULT) >= before


def test_as_many_as_are_surely_in_time_are_always_let_in() -> None:
    """At 5 ms each, 0.6 of 100 ms are twelve one after another; half of them are never refused."""
    limiter = Limiter()
    for round_number in range(50):
        now_s = 0.2 * round_number
        for place in range(min(12, limiter.limit(DEFAULT))):
            permit = limiter.admit(now_s, DEFAULT, 0.1)
            assert isinstance(permit, Permit)
            missed = place >= 4
            limiter.release(permit, now_s + 0.1, 0.095, Outcome.MISSED if missed else Outcome.ANSWERED)
    assert limiter.stats.cuts > 3
    assert limiter.limit(DEFAULT) >= 6


def test_one_is_let_through_now_and_then_when_the_others_never_leave() -> None:
    limiter = Limiter(LimiterLimits(ceiling=2, probe_s=0.1))
    filled(limiter, 2)
    times_s = [0.001 * at for at in range(1000)]
    admitted = [at for at in times_s if isinstance(limiter.admit(at, DEFAULT, GIVEN_S), Permit)]
    assert len(admitted) == 9
    assert limiter.stats.probes == 9
    assert limiter.in_flight == 11


def test_a_probe_of_one_criticality_is_none_of_the_others() -> None:
    limiter = Limiter(LimiterLimits(ceiling=1, probe_s=0.1))
    filled(limiter, 1, CRITICAL)
    for criticality in (CRITICAL, DEFAULT, SHEDDABLE):
        refused(limiter, criticality)
    filled(limiter, 1, SHEDDABLE, now_s=0.1)
    filled(limiter, 1, DEFAULT, now_s=0.1)
    filled(limiter, 1, CRITICAL, now_s=0.1)


def test_those_that_are_gone_say_nothing_about_load() -> None:
    limiter = Limiter()
    for round_number in range(50):
        now_s = 0.2 * round_number
        for permit in filled(limiter, 2, now_s=now_s):
            limiter.release(permit, now_s + 0.1, 0.1, Outcome.GONE)
    assert limiter.stats.gone == 100
    assert limiter.stats.cuts == 0


def test_a_pause_of_any_length_is_survived() -> None:
    limiter = learnt(512)
    (permit,) = filled(limiter, 1, now_s=1e9)
    limiter.release(permit, 1e9 + 0.005, 0.0, Outcome.ANSWERED)
    filled(limiter, 2, now_s=1e9 + 1)


def test_when_to_come_back_grows_with_how_many_are_refused() -> None:
    def retry_after_s(refused_each: int) -> float:
        limiter, times_s = Limiter(LimiterLimits(ceiling=2, probe_s=10.0)), []
        for round_number in range(100):
            now_s = 0.01 * round_number
            permits = filled(limiter, 2, now_s=now_s)
            times_s = [refused(limiter, now_s=now_s).retry_after_s for _ in range(refused_each)]
            for permit in permits:
                limiter.release(permit, now_s + 0.005, 0.0, Outcome.ANSWERED)
        return sum(times_s) / len(times_s)

    assert retry_after_s(20) > 4 * retry_after_s(2)


@pytest.mark.parametrize("criticality", Criticality)
def test_every_request_is_counted_once(criticality: Criticality) -> None:
    limiter = Limiter(LimiterLimits(ceiling=3))
    permits = filled(limiter, 3, criticality)
    refused(limiter, criticality)
    for permit, outcome in zip(permits, Outcome, strict=True):
        limiter.release(permit, 0.03, 0.0, outcome)
    stats = limiter.stats
    assert stats.admitted[criticality] == 3
    assert stats.refused[criticality] == 1
    assert (stats.answered, stats.missed, stats.gone) == (1, 1, 1)
    assert limiter.in_flight == 0
