import pytest

from runtime.quota import UNLIMITED, Quota, Quotas

TEN = Quota(rate_per_s=10.0, burst=3)


def allowed(quotas: Quotas, caller: str, now_s: float) -> bool:
    return quotas.take(caller, now_s) == 0.0


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    quotas = Quotas(TEN, {}, 10)
    assert [allowed(quotas, "a", 5.0) for _ in range(5)] == [True, True, True, False, False]
    times_s = [5.0 + 0.001 * at for at in range(1, 2001)]
    assert sum(allowed(quotas, "a", at) for at in times_s) in (19, 20)


def test_the_wait_is_until_there_is_a_token() -> None:
    quotas = Quotas(TEN, {}, 10)
    for _ in range(3):
        quotas.take("a", 0.0)
    wait_s = quotas.take("a", 0.03)
    assert wait_s == pytest.approx(0.07)
    assert not allowed(quotas, "a", 0.03 + wait_s - 1e-6)
    assert allowed(quotas, "a", 0.03 + wait_s + 1e-9)


def test_a_refused_call_costs_nothing() -> None:
    quotas = Quotas(TEN, {}, 10)
    for _ in range(1000):
        quotas.take("a", 0.0)
    assert allowed(quotas, "a", 0.11)


def test_a_pause_fills_no_more_than_the_burst() -> None:
    quotas = Quotas(TEN, {}, 10)
    quotas.take("a", 0.0)
    assert [allowed(quotas, "a", 1e6) for _ in range(4)] == [True, True, True, False]


def test_every_call_is_allowed_when_the_bucket_is_full_and_the_machine_runs_for_days() -> None:
    quotas = Quotas(Quota(rate_per_s=1000.0, burst=1), {}, 10)
    assert all(allowed(quotas, "a", 1e5 + 7.3 * count) for count in range(1000))


def test_callers_do_not_use_up_each_others_quota() -> None:
    quotas = Quotas(TEN, {}, 10)
    for _ in range(5):
        quotas.take("a", 0.0)
    assert allowed(quotas, "b", 0.0)
    assert allowed(quotas, "", 0.0)


def test_a_caller_of_its_own_quota_has_no_other() -> None:
    quotas = Quotas(UNLIMITED, {"nightly": Quota(1.0, 1)}, 10)
    assert quotas.bounds
    assert [allowed(quotas, "nightly", 0.0) for _ in range(2)] == [True, False]
    assert all(allowed(quotas, "web", 0.0) for _ in range(1000))
    assert quotas.of("nightly") == Quota(1.0, 1)
    assert quotas.stats.allowed == 1


def test_nothing_is_bounded_where_no_quota_is_given() -> None:
    assert not Quotas(UNLIMITED, {}, 10).bounds


def test_the_caller_heard_of_longest_ago_is_forgotten_when_there_are_too_many() -> None:
    quotas = Quotas(Quota(0.001, 1), {}, 2)
    for caller in ("a", "b"):
        assert allowed(quotas, caller, 0.0)
    assert not allowed(quotas, "a", 1.0)
    assert allowed(quotas, "c", 2.0)  # forgets a: only calls that are allowed count as use
    assert not allowed(quotas, "b", 3.0)
    assert allowed(quotas, "a", 4.0)
    assert quotas.stats.forgotten == 2


def test_a_fraction_of_a_call_a_second_is_a_rate_too() -> None:
    quotas = Quotas(Quota(0.5, 1), {}, 10)
    assert allowed(quotas, "a", 0.0)
    assert quotas.take("a", 0.5) == pytest.approx(1.5)
