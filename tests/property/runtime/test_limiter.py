"""Whatever comes, however it ends: permits are conserved, limits stay in their bounds, nothing latches."""

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.batcher import Criticality
from runtime.limiter import Limiter, LimiterLimits, Outcome, Permit
from tests.support.examples import examples

PAUSES_S = st.sampled_from([0.0, 0.0001, 0.004, 0.05, 0.11, 3.0, 1e4])
EVENTS = st.lists(
    st.tuples(
        PAUSES_S,
        st.one_of(
            st.tuples(
                st.just("come"), st.sampled_from(Criticality), st.sampled_from([0.0, 0.001, 0.05, 60.0])
            ),
            st.tuples(st.just("end"), st.integers(0, 1000), st.sampled_from(Outcome), st.floats(0.0, 1.0)),
        ),
    ),
    max_size=300,
)


@given(EVENTS, st.integers(1, 20))
@settings(deadline=None, max_examples=examples(150))
def test_permits_are_conserved(events: list[tuple[float, tuple]], ceiling: int) -> None:  # type: ignore[type-arg]
    limiter = Limiter(LimiterLimits(ceiling=ceiling))
    under_way: list[Permit] = []
    came = [0, 0, 0]
    now_s = 0.0
    for pause_s, event in events:
        now_s += pause_s
        if event[0] == "come":
            permit = limiter.admit(now_s, event[1], event[2])
            came[event[1]] += 1
            if isinstance(permit, Permit):
                under_way.append(permit)
            else:
                assert permit.retry_after_s > 0.0
        elif under_way:
            permit = under_way.pop(event[1] % len(under_way))
            waited_s = event[3] * (now_s - permit.admitted_s)
            limiter.release(permit, now_s, waited_s, event[2])
        assert limiter.in_flight == len(under_way)
        assert all(1 <= limiter.limit(criticality) <= ceiling for criticality in Criticality)
    stats = limiter.stats
    assert [sum(pair) for pair in zip(stats.admitted, stats.refused, strict=True)] == came
    assert sum(stats.admitted) - len(under_way) == stats.answered + stats.missed + stats.gone
    for permit in under_way:
        limiter.release(permit, now_s, 0.0, Outcome.GONE)
    assert limiter.in_flight == 0


@given(EVENTS, st.sampled_from(Criticality))
@settings(deadline=None, max_examples=examples(100))
def test_everybody_is_let_in_again_whatever_came_before(
    events: list[tuple[float, tuple]],  # type: ignore[type-arg]
    criticality: Criticality,
) -> None:
    limiter, now_s = Limiter(LimiterLimits(probe_s=0.1)), 0.0
    under_way: list[Permit] = []
    for pause_s, event in events:
        now_s += pause_s
        if event[0] == "come":
            permit = limiter.admit(now_s, event[1], event[2])
            if isinstance(permit, Permit):
                under_way.append(permit)
        elif under_way:
            limiter.release(under_way.pop(), now_s, 0.0, event[2])
    first = limiter.admit(now_s, criticality, 0.05)
    second = limiter.admit(now_s + 0.1000001, criticality, 0.05)
    assert isinstance(first, Permit) or isinstance(second, Permit)
