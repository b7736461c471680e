"""When the open loop's calls are due, and what is made of how they ended."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.arrivals import LAG_S, Outcome, Outcomes, Phase, Schedule, poisson, recovery_s


def test_calls_come_at_the_rate_of_their_phase_when_phases_differ() -> None:
    schedule = poisson([Phase(10, 100), Phase(5, 1000)], [1, 3], seed=1)
    due_s = schedule.due_s
    assert np.all(np.diff(due_s) >= 0)
    assert np.sum(due_s < 10) == pytest.approx(1000, rel=0.15)
    assert np.sum(due_s >= 10) == pytest.approx(5000, rel=0.1)
    assert due_s[-1] < 15
    assert np.mean(schedule.lane == 1) == pytest.approx(0.75, abs=0.03)


def test_gaps_are_exponential_when_calls_come_independently() -> None:
    gaps_s = np.diff(poisson([Phase(100, 200)], [1], seed=2).due_s)
    assert np.std(gaps_s) == pytest.approx(np.mean(gaps_s), rel=0.1)


def outcomes(*ended: tuple[float, Outcome, float]) -> Outcomes:
    """Calls by when they were due, how they ended and with what latency, sent at once."""
    due_s, outcome, latency_s = zip(*ended, strict=True)
    schedule = Schedule((Phase(1, 4), Phase(1, 4)), np.array(due_s), np.arange(len(due_s)) % 2)
    return Outcomes(schedule, np.array(outcome), np.zeros(len(due_s)), np.array(latency_s))


def test_only_answers_in_time_count_as_goodput_when_a_phase_is_summed_up() -> None:
    nan = float("nan")
    first, second = outcomes(
        (0.1, Outcome.GOOD, 0.010),
        (0.2, Outcome.DEGRADED, 0.030),
        (0.3, Outcome.REFUSED, 0.001),
        (0.4, Outcome.EXPIRED, nan),
        (1.5, Outcome.GOOD, 0.020),
        (1.6, Outcome.UNSENT, nan),
        (1.7, Outcome.LATE, 0.150),
    ).phases(["critical", "default"])
    assert first["offered_per_s"] == 4
    assert first["goodput_per_s"] == 2
    assert first["p50_us"] == pytest.approx(20_000)
    assert first["refused_p50_us"] == pytest.approx(1_000)
    assert first["lanes"]["critical"]["good"] == 1
    assert first["lanes"]["default"]["offered"] == 2
    assert (second["offered"], second["good"], second["unsent"], second["late"]) == (3, 1, 1, 1)
    assert second["goodput_per_s"] == 1
    assert second["p99_us"] > 140_000  # late answers are answers


def test_a_call_doesnt_count_as_sent_when_the_generator_was_slow() -> None:
    schedule = Schedule((Phase(1, 3),), np.array([0.1, 0.2, 0.3]), np.zeros(3, int))
    lag_s = np.array([0.0, 2 * LAG_S, float("nan")])
    found = Outcomes(schedule, np.full(3, Outcome.GOOD), lag_s, np.full(3, 0.01))
    assert found.phases(["default"])[0]["sent"] == 1


def timeline(*good: int) -> list[dict[str, float]]:
    """Steps of 0.5 s with ten calls each."""
    return [{"start_s": 0.5 * step, "offered": 10, "good": count} for step, count in enumerate(good)]


def test_recovery_is_when_a_second_is_served_again_when_it_is() -> None:
    assert recovery_s(timeline(0, 0, 10, 10, 10), 0.0, 0.95, "good") == 1.0
    assert recovery_s(timeline(0, 0, 10, 10, 10), 1.0, 0.95, "good") == 0.0
    assert recovery_s(timeline(0, 10, 5, 10, 10), 0.0, 0.95, "good") == 1.5


def test_there_is_no_recovery_when_no_second_is_served() -> None:
    assert recovery_s(timeline(0, 10, 0, 10, 0), 0.0, 0.95, "good") is None
    assert recovery_s(timeline(10), 0.0, 0.95, "good") is None
