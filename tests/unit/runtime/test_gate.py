"""A gate refuses what would be in vain, and nothing that it refuses stays refused once it would succeed."""

from collections.abc import Callable

from runtime.clock import ManualClock
from runtime.gate import Gate, Verdict

STEP_S = 0.001


class Dependency:
    """Answers in `takes_s(now)`; None: it fails at once."""

    def __init__(self, gate: Gate, clock: ManualClock) -> None:
        self.gate = gate
        self.clock = clock

    def call(self, takes_s: float | None, given_s: float, size: int = 1) -> Verdict | str:
        """Pass the gate, wait for the answer, report it."""
        now_s = self.clock.monotonic_s()
        verdict = self.gate.admit(now_s, given_s, size)
        if not verdict:
            return verdict
        if takes_s is None:
            self.gate.failed(now_s)
            return "failed"
        if takes_s > given_s:
            self.gate.timed_out(now_s + given_s, given_s, size)
            return "timed out"
        self.gate.succeeded(now_s + takes_s, takes_s, size)
        return "answered"

    def calls(
        self, duration_s: float, takes_s: Callable[[float], float | None], given_s: float
    ) -> list[tuple[float, Verdict | str]]:
        """Call every millisecond; return when each call was made, and how it ended."""
        start_s = self.clock.monotonic_s()
        ends = []
        while (now_s := self.clock.monotonic_s() - start_s) < duration_s:
            ends.append((now_s, self.call(takes_s(now_s), given_s)))
            self.clock.advance(STEP_S)
        return ends


def dependency(**settings: float) -> Dependency:
    return Dependency(Gate(**settings), ManualClock())  # type: ignore[arg-type]


def count(ends: list[tuple[float, Verdict | str]], end: Verdict | str) -> int:
    return sum(1 for _, which in ends if which == end)


def test_everything_is_admitted_while_nothing_is_known() -> None:
    assert Gate().admit(10.0, 0.0001, 500) is Verdict.ADMITTED


def test_nothing_is_admitted_when_no_time_remains() -> None:
    gate = Gate()
    assert [bool(gate.admit(second, 0.0, 1)) for second in range(100)] == [False] * 100


def test_a_stage_is_refused_when_it_takes_longer_than_remains() -> None:
    under_test = dependency()
    under_test.calls(0.1, lambda _: 0.004, given_s=0.010)
    assert under_test.call(0.004, given_s=0.003) is Verdict.NO_TIME
    assert under_test.call(0.004, given_s=0.005) == "answered"


def test_larger_stages_are_refused_where_smaller_are_admitted() -> None:
    under_test = dependency()
    for step in range(100):
        size = 1 + step % 10
        under_test.call(0.001 * size, given_s=1.0, size=size)
        under_test.clock.advance(STEP_S)
    assert under_test.call(0.002, given_s=0.005, size=2) == "answered"
    assert under_test.call(0.010, given_s=0.005, size=10) is Verdict.NO_TIME


def test_large_stages_are_admitted_when_only_small_ones_were_seen() -> None:
    under_test = dependency()
    for _ in range(5):
        under_test.call(0.0007, given_s=0.030)
        under_test.clock.advance(STEP_S)
    assert under_test.call(0.0009, given_s=0.030, size=150) == "answered"


def test_rare_large_stages_are_admitted_among_many_small_ones() -> None:
    under_test = dependency()
    ends = []
    for step in range(20_000):
        large = step % 2_000 == 0
        end = under_test.call(0.001 if large else 0.0007, given_s=0.025, size=150 if large else 1)
        ends.append((float(step), end))
        under_test.clock.advance(STEP_S)
    assert count(ends, "answered") == len(ends)


def test_small_stages_are_admitted_when_only_large_ones_were_seen() -> None:
    under_test = dependency()
    for _ in range(50):
        under_test.call(0.020, given_s=1.0, size=10_000)
        under_test.clock.advance(STEP_S)
    assert under_test.call(0.001, given_s=0.005) == "answered"


def test_a_single_outlier_shuts_nobody_out() -> None:
    under_test = dependency()
    ends = under_test.calls(1.0, lambda now_s: 0.5 if 0.4995 < now_s < 0.5005 else 0.004, given_s=0.005)
    assert count(ends, "timed out") == 1
    assert count(ends, "answered") == len(ends) - 1


def test_scattered_failures_close_nothing_when_others_succeed_between() -> None:
    under_test = dependency()
    ends = under_test.calls(1.0, lambda now_s: None if round(now_s * 1000) % 2 else 0.001, given_s=0.005)
    assert count(ends, Verdict.UNAVAILABLE) == 0
    assert not under_test.gate.closed


def test_a_dead_dependency_costs_a_probe_every_100_ms_and_is_noticed_when_it_is_back() -> None:
    under_test = dependency()
    ends = under_test.calls(3.0, lambda now_s: None if 0.5 <= now_s < 2.5 else 0.001, given_s=0.005)
    dead = [end for at_s, end in ends if 0.5 <= at_s < 2.5]
    assert 5 + 18 <= dead.count("failed") <= 5 + 20
    assert dead.count(Verdict.UNAVAILABLE) == len(dead) - dead.count("failed")
    back_s = next(at_s for at_s, end in ends if at_s >= 2.5 and end == "answered")
    assert back_s <= 2.5 + 0.1 + STEP_S
    assert {end for at_s, end in ends if at_s > back_s} == {"answered"}


def test_a_black_hole_closes_the_gate_and_is_noticed_when_it_is_back() -> None:
    """Nothing fails: calls only get no answer in the time that they are given."""
    under_test = dependency()
    ends = under_test.calls(3.0, lambda now_s: 60.0 if 0.5 <= now_s < 2.5 else 0.001, given_s=0.005)
    dead = [end for at_s, end in ends if 0.5 <= at_s < 2.5]
    assert dead.count("timed out") <= 5 + 20
    last_s = max(at_s for at_s, end in ends if end != "answered")
    assert last_s <= 2.5 + 0.5


def test_a_slow_spell_refuses_what_is_in_vain_and_is_forgotten_when_it_ends() -> None:
    under_test = dependency()
    slow = 0.050
    under_test.calls(0.5, lambda _: 0.002, given_s=0.100)
    under_test.calls(1.0, lambda _: slow, given_s=0.100)  # some have the time: they teach what it takes
    spell = under_test.calls(1.0, lambda _: slow, given_s=0.010)
    assert count(spell, "timed out") <= 11
    assert count(spell, Verdict.NO_TIME) >= len(spell) - 11
    assert not under_test.gate.closed, "calls in a hurry are no failures"
    after = under_test.calls(1.0, lambda _: 0.002, given_s=0.010)
    assert {end for at_s, end in after if at_s > 0.7} == {"answered"}


def test_an_estimate_is_forgotten_when_nothing_is_called_for_seconds() -> None:
    under_test = dependency()
    under_test.calls(1.0, lambda _: 0.050, given_s=0.100)
    under_test.clock.advance(5.0)
    assert under_test.call(0.002, given_s=0.010) == "answered"


def test_large_stages_get_their_probe_when_only_small_ones_are_admitted() -> None:
    """The small ones' success alone would never show that large ones have become quick."""
    under_test = dependency()
    for step in range(200):
        size = 1 + 9 * (step % 2)
        under_test.call(0.001 * size, given_s=1.0, size=size)
        under_test.clock.advance(STEP_S)
    ends = []
    for _ in range(1500):
        under_test.call(0.001, given_s=0.005, size=1)
        ends.append(under_test.call(0.0011, given_s=0.005, size=10))
        under_test.clock.advance(STEP_S)
    assert ends[0] is Verdict.NO_TIME
    assert set(ends[-200:]) == {"answered"}


def test_a_probe_that_is_never_reported_blocks_nothing() -> None:
    gate = Gate(closes_after=1)
    gate.failed(0.0)
    assert gate.closed
    verdicts = [gate.admit(0.01 * step, 1.0).name for step in range(60)]
    assert verdicts.count("ADMITTED") == 5
    gate.succeeded(0.6, 0.001)
    assert gate.admit(0.6, 1.0)


def test_decisions_are_counted() -> None:
    under_test = dependency(closes_after=2)
    ends = under_test.calls(0.2, lambda _: None, given_s=0.01)
    stats = under_test.gate.stats
    assert (stats.admitted, stats.probes, stats.closings) == (3, 1, 1)
    assert stats.unavailable == len(ends) - 3


def test_what_is_in_this_process_does_not_count_as_gone_when_it_is_slow() -> None:
    """A machine that has no time makes all runs time out; who has more time is served all the same."""
    gate = Gate(is_local=True)
    for place in range(20):
        now_s = 0.01 * place
        gate.timed_out(now_s, 0.01)
    assert not gate.closed
    assert gate.admit(0.2, 0.1) is Verdict.ADMITTED
    for _ in range(5):
        gate.failed(0.2)
    assert gate.closed


def test_nothing_is_learnt_from_what_took_as_long_as_expected_a_moment_after_another() -> None:
    gate = Gate()
    for now_s, took_s in ((10.0, 0.01), (10.001, 0.013), (10.002, 0.008)):
        gate.succeeded(now_s, took_s)
    assert gate.expected_s(10.002, 1) == 0.01
    gate.succeeded(10.1, 0.013)
    assert 0.01 < gate.expected_s(10.1, 1) < 0.013


def test_what_took_much_longer_or_shorter_is_learnt_from_whenever_it_comes() -> None:
    for took_s in (0.002, 0.019):
        gate = Gate()
        gate.succeeded(10.0, 0.01)
        gate.succeeded(10.001, took_s)
        assert abs(gate.expected_s(10.001, 1) - 0.01) > 0.002


def test_every_size_is_learnt_when_stages_of_two_sizes_follow_one_another_closely() -> None:
    gate = Gate()
    for turn in range(40):
        gate.succeeded(10.0 + turn * 0.002, 0.001, 1)
        gate.succeeded(10.001 + turn * 0.002, 0.01, 100)
    assert 0.0005 < gate.expected_s(10.08, 1) < 0.0025
    assert 0.006 < gate.expected_s(10.08, 100) < 0.012
