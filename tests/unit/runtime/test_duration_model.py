"""Durations are learnt by size, outliers are ignored, and what was learnt is forgotten."""

from random import Random

import pytest

from runtime.duration_model import UNKNOWN, DurationModel
from tests.support.simulation import ServiceTime

TRUTH = ServiceTime(fixed_s=0.0003, row_s=0.00005, noise=0.25)


def learn(model: DurationModel, sizes: list[int], service: ServiceTime = TRUTH, from_s: float = 0.0) -> float:
    """Let a model see batches of these sizes, one after another; return the time then."""
    random, now_s = Random(1), from_s
    for size in sizes:
        took_s = service.of(size, random)
        now_s += took_s
        model.observe(size, took_s, now_s)
    return now_s


def mixed_sizes(count: int) -> list[int]:
    random = Random(2)
    return [min(64, 1 + int(random.expovariate(1 / 8))) for _ in range(count)]


def test_nothing_is_expected_before_the_first_observation() -> None:
    assert DurationModel().cost_at(5.0) == UNKNOWN


@pytest.mark.parametrize("size", [1, 8, 64])
def test_durations_of_all_sizes_are_expected_when_sizes_were_mixed(size: int) -> None:
    model = DurationModel()
    now_s = learn(model, mixed_sizes(300))
    assert model.knows_slope
    assert model.cost_at(now_s).of(size) == pytest.approx(0.0003 + 0.00005 * size, rel=0.4)


def test_a_size_never_seen_is_guessed_halfway_when_all_were_alike() -> None:
    """Between a duration that doesn't depend on the size, and one in proportion to it."""
    model = DurationModel()
    now_s = learn(model, [2] * 20, ServiceTime(0.001, 0.0))
    assert not model.knows_slope
    assert model.cost_at(now_s).of(2) == pytest.approx(0.001)
    assert model.cost_at(now_s).of(4) == pytest.approx(0.0015)
    assert model.flat_cost_at(now_s).of(64) == pytest.approx(0.001)


def test_a_single_outlier_changes_nothing() -> None:
    model = DurationModel()
    now_s = learn(model, [4] * 20, ServiceTime(0.001, 0.0))
    model.observe(4, 0.5, now_s + 0.5)
    assert model.cost_at(now_s + 0.5).of(4) == pytest.approx(0.001, rel=0.01)


def test_a_slow_spell_is_believed_within_three_observations() -> None:
    model = DurationModel()
    now_s = learn(model, [4] * 20, ServiceTime(0.001, 0.0))
    now_s = learn(model, [4] * 3, ServiceTime(0.010, 0.0), now_s)
    assert model.cost_at(now_s).of(4) > 0.003


def test_a_slow_spell_is_believed_of_a_size_that_it_has_not_shown() -> None:
    model = DurationModel()
    now_s = learn(model, mixed_sizes(300), ServiceTime(0.0003, 0.00005))
    learn(model, [size for size in mixed_sizes(40) if size < 32], ServiceTime(0.003, 0.0005), now_s)
    assert model.cost.of(64) == pytest.approx(10 * (0.0003 + 0.00005 * 64), rel=0.5)


def test_a_slope_is_kept_when_sizes_come_in_long_runs() -> None:
    model = DurationModel()
    now_s = learn(model, ([64] * 50 + [1] * 50) * 3, ServiceTime(0.0003, 0.00005))
    assert model.cost_at(now_s).of(64) == pytest.approx(0.0035, rel=0.3)


def test_a_slow_spell_is_forgotten_within_ten_observations() -> None:
    model = DurationModel()
    now_s = learn(model, [4] * 50, ServiceTime(0.010, 0.0))
    now_s = learn(model, [4] * 10, ServiceTime(0.001, 0.0), now_s)
    assert model.cost_at(now_s).of(4) < 0.0025


def test_a_slow_spell_is_forgotten_by_rare_observations_in_fewer() -> None:
    """A probe every 100 ms weighs more than one of a thousand observations per second."""
    model = DurationModel()
    now_s = learn(model, [1] * 50, ServiceTime(0.050, 0.0))
    for _ in range(5):
        now_s += 0.1
        model.observe(1, 0.001, now_s)
    assert model.cost_at(now_s).of(1) < 0.012


def test_an_expectation_halves_every_second_when_nothing_is_observed() -> None:
    model = DurationModel()
    now_s = learn(model, [1] * 50, ServiceTime(1.0, 0.0))
    assert model.cost_at(now_s + 10.05).of(1) == pytest.approx(1 / 1024)


def test_expectations_are_never_negative_whatever_was_observed() -> None:
    random, model, now_s = Random(3), DurationModel(), 0.0
    for _ in range(2000):
        rows, seconds = random.randint(1, 1000), random.choice([0.0, 1e-12, random.expovariate(1000), 5.0])
        now_s += random.expovariate(10)
        model.observe(rows, seconds, now_s)
        assert model.cost.fixed_s >= 0.0
        assert model.cost.row_s >= 0.0
        assert model.cost.of(1) > 0.0


def test_runs_beside_each_other_in_one_stall_count_as_one_outlier() -> None:
    model = DurationModel()
    now_s = learn(model, [4] * 20, ServiceTime(0.001, 0.0))
    for beside in range(8):
        model.observe(4, 2.0 - 0.01 * beside, now_s + 2.0)
    assert model.cost_at(now_s + 2.0).of(4) == pytest.approx(0.001, rel=0.05)


def test_a_slow_spell_of_runs_beside_each_other_is_believed_once_it_lasts() -> None:
    model = DurationModel()
    now_s = learn(model, [4] * 20, ServiceTime(0.001, 0.0))
    for step in range(1, 100):
        model.observe(4, 0.050, now_s + 0.050 + 0.001 * step)
    assert model.cost_at(now_s + 0.15).of(4) == pytest.approx(0.050, rel=0.1)


def test_a_stall_is_forgotten_when_two_runs_in_a_row_are_fast_again() -> None:
    model = DurationModel()
    now_s = learn(model, [1] * 20, ServiceTime(0.005, 0.0))
    now_s = learn(model, [1] * 3, ServiceTime(2.0, 0.0), now_s)
    assert model.cost_at(now_s).of(1) > 0.3
    for probe in (1, 2):
        model.observe(1, 0.005, now_s + 0.1 * probe)
    assert model.cost_at(now_s + 0.2).of(1) < 0.1
