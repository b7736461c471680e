from runtime.batcher import Criticality
from runtime.concurrency import ConcurrencyLimit
from runtime.retry_times import RetryTimes

CRITICAL, DEFAULT, SHEDDABLE = Criticality


def entered(limit: ConcurrencyLimit, criticality: Criticality) -> int:
    """Enter until refused; return how often."""
    count = 0
    while limit.enter(criticality) == 0.0:
        count += 1
    return count


def test_the_less_critical_are_refused_while_there_is_room_for_the_others() -> None:
    limit = ConcurrencyLimit(100)
    assert [entered(limit, criticality) for criticality in (SHEDDABLE, DEFAULT, CRITICAL)] == [50, 40, 10]
    assert limit.in_flight == 100
    assert limit.stats.refused == [1, 1, 1]


def test_who_leaves_makes_room() -> None:
    limit = ConcurrencyLimit(1)
    assert limit.enter(SHEDDABLE) == 0.0
    assert limit.enter(CRITICAL) > 0.0
    limit.leave()
    assert limit.enter(DEFAULT) == 0.0


def test_callers_come_back_apart_from_each_other_and_not_before_they_should() -> None:
    retries = RetryTimes()
    times_s = [retries.after(0.1) for _ in range(100)]
    assert min(times_s) >= 0.1
    assert max(times_s) <= 0.26
    assert len(set(times_s)) >= 4


def test_there_are_few_times_to_come_back_at() -> None:
    retries = RetryTimes()
    assert len({retries.after(0.000_1 * at) for at in range(100_000)}) < 60
    assert retries.after(0.0) == 0.001
    assert retries.after(1e9) < 60.0
