"""A batcher's schedule under load, played on a manual clock: what batching gains, and who goes without."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from runtime.batcher import BatchLimits, Criticality
from tests.support.simulation import Play, ServiceTime, Visit, play, poisson, visit

SERVICE = ServiceTime(fixed_s=0.0003, row_s=0.00005, noise=0.1)
LIMITS = BatchLimits()
CAPACITY = SERVICE.capacity(LIMITS.members)
CRITICAL, DEFAULT, SHEDDABLE = Criticality


def loaded(
    load: float,
    *,
    service: ServiceTime = SERVICE,
    limits: BatchLimits = LIMITS,
    duration_s: float = 0.5,
    timeout_s: Callable[[Random], float] = lambda _: 0.025,
    criticality: Callable[[Random], Criticality] = lambda _: DEFAULT,
) -> Play:
    """Play Poisson arrivals at `load` times the capacity of full batches."""
    noise = Random(1)
    arrivals = poisson(
        Random(2),
        rate=load * service.capacity(limits.members),
        duration_s=duration_s,
        timeout_s=timeout_s,
        criticality=criticality,
    )
    return play(arrivals, lambda rows, _: service.of(rows, noise), limits)


def goodput_ratio(result: Play, service: ServiceTime = SERVICE) -> float:
    return result.goodput / service.capacity(LIMITS.members)


def test_nobody_waits_who_comes_while_nothing_runs() -> None:
    result = loaded(0.2)
    alone = [
        after
        for before, after in pairwise(result.batches)
        if before.members[0].ended_s < after.members[0].submitted_s
    ]
    assert len(alone) > 100
    assert all(batch.members[0].waited_s == 0.0 for batch in alone)


def test_nobody_waits_longer_than_for_the_batch_that_runs_when_load_is_light() -> None:
    result = loaded(0.2)
    longest_s = max(batch.members[0].ended_s - batch.started_s for batch in result.batches)
    assert result.share("done") == 1.0
    assert max(visit.waited_s for visit in result.visits) <= longest_s
    assert not result.overlaps()


def test_batching_gains_what_the_cost_model_says_when_saturated() -> None:
    """Singles could serve a tenth of what full batches do."""
    single = loaded(1.5, limits=BatchLimits(members=1))
    result = loaded(1.5)
    assert CAPACITY / SERVICE.capacity(1) == pytest.approx(6.4)
    assert result.mean_size > 55
    assert goodput_ratio(result) > 0.95
    assert result.goodput / single.goodput > 0.9 * CAPACITY / SERVICE.capacity(1)


def test_everybody_is_served_in_time_just_below_capacity() -> None:
    result = loaded(0.9)
    assert result.share("done") == 1.0


@pytest.mark.parametrize("load", [1.5, 10.0])
@pytest.mark.parametrize(("fixed_s", "row_s"), [(0.0003, 0.00005), (0.002, 0.0001), (0.005, 0.00001)])
@pytest.mark.parametrize("timeouts_s", [[0.025], [0.012, 0.025, 0.1]])
def test_goodput_holds_in_overload(
    load: float, fixed_s: float, row_s: float, timeouts_s: list[float]
) -> None:
    service = ServiceTime(fixed_s, row_s, noise=0.1)
    seconds = (0.4 if load < 2 else 0.2) * (0.5 if fixed_s < 0.001 else 1.0)
    result = loaded(load, service=service, duration_s=seconds, timeout_s=lambda it: it.choice(timeouts_s))
    assert goodput_ratio(result, service) > 0.9
    assert result.share("overdue") < 0.01


def test_goodput_holds_when_fixed_costs_fill_much_of_the_deadline() -> None:
    """The first batches hold one member each; what larger ones take has to be found out."""
    service = ServiceTime(fixed_s=0.005, row_s=0.00001, noise=0.1)
    result = loaded(0.5, service=service, timeout_s=lambda _: 0.0125)
    assert result.share("done") > 0.9


def test_the_earliest_due_go_first() -> None:
    busy = visit(0.0, 1.0)
    others = [visit(0.001, timeout_s) for timeout_s in (0.9, 0.3, 0.7, 0.5)]
    result = play([busy, *others], lambda rows, _: 0.01 * rows, BatchLimits(members=1))
    assert [batch.members[0] for batch in result.batches[1:]] == sorted(
        others, key=lambda other: other.deadline_s
    )


def test_nobody_runs_who_has_expired() -> None:
    result = loaded(3.0, timeout_s=lambda random: random.choice([0.002, 0.006, 0.025]))
    assert result.of("late")
    assert all(visit.started_s < visit.deadline_s for batch in result.batches for visit in batch.members)


def test_the_critical_are_served_when_others_are_not() -> None:
    def criticality(random: Random) -> Criticality:
        return random.choice([CRITICAL, DEFAULT, DEFAULT, SHEDDABLE, SHEDDABLE])

    result = loaded(2.0, criticality=criticality)
    assert result.share("done", CRITICAL) > 0.99
    assert 0.5 < result.share("done", DEFAULT) < 0.95
    assert result.share("done", SHEDDABLE) < 0.1


def test_the_least_critical_give_way_when_the_queue_is_full() -> None:
    limits = BatchLimits(members=1, waiting=2)
    visits = [
        visit(0.0, 9.0),
        visit(0.001, 9.0, SHEDDABLE),
        visit(0.002, 9.0, DEFAULT),
        visit(0.003, 9.0, CRITICAL),
        visit(0.004, 9.0, CRITICAL),
        visit(0.005, 9.0, DEFAULT),
    ]
    result = play(visits, lambda *_: 0.1, limits)
    outcomes = [visit.outcome for visit in result.visits]
    assert outcomes == ["done", "displaced", "displaced", "done", "done", "refused"]


def test_the_queue_is_no_longer_than_allowed() -> None:
    limits = BatchLimits(members=1, waiting=10, wait_s=9.0)
    result = play([visit(0.0001 * at, 60.0) for at in range(100)], lambda *_: 1.0, limits)
    assert len(result.of("refused")) == 89


def test_nobody_waits_longer_than_expected_waits_are_allowed_to_be() -> None:
    limits = BatchLimits(members=8, wait_s=0.01)
    result = loaded(3.0, limits=limits, timeout_s=lambda _: 60.0, service=ServiceTime(0.001, 0.0001))
    assert result.of("refused")
    assert not result.of("late")
    assert max(visit.waited_s for visit in result.of("done")[50:]) < 0.013


def test_those_with_time_are_served_though_hurried_ones_keep_coming() -> None:
    """One in ten has no deadline: ordered by deadline alone, they would wait as long as others come."""
    limits = BatchLimits(patience_s=0.02, wait_s=9.0)

    def timeout_s(random: Random) -> float:
        return 0.025 if random.random() < 0.9 else 1e9

    result = loaded(2.0, limits=limits, duration_s=0.6, timeout_s=timeout_s)
    patient = [visit for visit in result.visits if visit.deadline_s > 1e6]
    early = [visit for visit in patient if visit.submitted_s < 0.3]
    assert {visit.outcome for visit in early} <= {"done", "refused"}
    assert max(visit.waited_s for visit in early if visit.outcome == "done") < 0.2


def test_every_key_has_its_turn() -> None:
    def arrivals() -> list[Visit]:
        random, visits = (
            Random(3),
            list(poisson(Random(2), rate=0.8 * CAPACITY, duration_s=0.3, timeout_s=lambda _: 0.1)),
        )
        for one in visits:
            one.key = random.choice(["often", "often", "often", "rare"])
        return visits

    result = play(arrivals(), lambda rows, _: 0.0003 + 0.00005 * rows, LIMITS)
    assert result.share("done") > 0.99
    assert all(len({visit.key for visit in batch.members}) == 1 for batch in result.batches)


def test_a_slow_spell_is_over_when_it_ends() -> None:
    """By what the spell has taught nobody could be in time; somebody has to try."""
    patient = [visit(0.2 * at, 9.0) for at in range(10)]
    hurried = [visit(2.0 + 0.001 * at, 0.025) for at in range(1000)]
    play([*patient, *hurried], lambda _, now_s: 0.2 if now_s < 1.9 else 0.001, LIMITS)
    assert patient[-1].outcome == "done"
    first_s = min(visit.started_s for visit in hurried if visit.outcome == "done")
    assert first_s <= 2.1 + 0.001
    assert {visit.outcome for visit in hurried if visit.submitted_s > 2.7} == {"done"}


def test_a_slow_spell_costs_a_try_now_and_then_while_it_lasts() -> None:
    patient = [visit(0.2 * at, 9.0) for at in range(10)]
    hurried = [visit(2.0 + 0.001 * at, 0.025) for at in range(1000)]
    result = play([*patient, *hurried], lambda *_: 0.2, LIMITS)
    assert len(result.batches) - 10 <= 1.0 / 0.2 + 1
    assert result.share("done") < 0.02


def test_two_batches_overlap_when_two_may_run() -> None:
    visits = [visit(0.001 * at, 9.0) for at in range(6)]
    result = play(visits, lambda *_: 0.01, BatchLimits(run_s=1.0), max_running=2)
    assert result.overlaps()
    assert [len(batch.members) for batch in result.batches] == [1, 1, 4]


def test_batches_grow_beyond_a_guess_when_others_wait() -> None:
    """While all batches held one member, two are guessed to take half as long again: over the limit."""
    limits = BatchLimits(run_s=0.01, probe_s=0.1)
    result = play([visit(0.001 * at, 9.0) for at in range(400)], lambda *_: 0.009, limits)
    assert result.share("done") == 1.0
    assert result.mean_size > 5
