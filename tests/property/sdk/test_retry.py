"""One call's course, whatever its attempts come to: bounded, in time, never sooner than a server asks."""

from __future__ import annotations

from dataclasses import dataclass

from forebay._addresses import Rotation
from forebay._channel import Repeats
from forebay._retry import Policy, Retry
from forebay._status import Failure
from forebay.deadline import Deadline
from forebay.errors import Error, InvalidRequest, Overloaded, Unavailable
from hypothesis import given
from hypothesis import strategies as st

delays_s = st.floats(0, 2, allow_nan=False)


@dataclass(frozen=True)
class Attempt:
    """What an attempt comes to, and after how long; no failure is an answer."""

    takes_s: float
    failure: Failure | None


def failing(error: Error, after_s: float | None) -> Failure:
    return Failure(error, after_s)


attempts = st.builds(
    Attempt,
    delays_s,
    st.one_of(
        st.none(),
        st.builds(failing, st.just(Unavailable("gone")), st.one_of(st.none(), st.just(0.0), delays_s)),
        st.builds(failing, st.just(Overloaded("full")), st.one_of(st.none(), delays_s)),
        st.just(Failure(InvalidRequest("wrong"), None)),
    ),
)

policies = st.builds(
    lambda retry, count, hedge_after_s, drawn: Policy(
        retry, Rotation(count), hedge_after_s, 1.0, jitter=lambda: drawn
    ),
    st.builds(
        Retry,
        attempts=st.integers(1, 6),
        first_delay_s=delays_s,
        max_delay_s=delays_s,
        budget=st.sampled_from([0.0, 0.1, 1.0]),
        floor_s=st.floats(0, 0.1),
    ),
    st.integers(1, 4),
    st.one_of(st.none(), delays_s),
    st.floats(0, 1),
)


@given(policies, st.sampled_from(Repeats), st.floats(0.01, 5), st.lists(attempts, min_size=8, max_size=8))
def test_attempts_are_bounded_in_time_and_as_servers_ask(
    policy: Policy, repeats: Repeats, timeout_s: float, script: list[Attempt]
) -> None:
    now_s = 100.0
    deadline = Deadline.after(timeout_s, now_s)
    course = policy.course(repeats, deadline)
    running: dict[int, tuple[float, Attempt]] = {}
    closed_until_s: dict[int, float] = {}
    started = 0

    def start(address: int) -> None:
        nonlocal started
        assert address not in running
        assert 0 <= address < policy.rotation.count
        assert now_s >= closed_until_s.get(address, 0.0) - 1e-9
        attempt = script[started]
        running[address] = (now_s + attempt.takes_s, attempt)
        started += 1

    start(course.begin(now_s))
    while running or course.next_s is not None:
        ends = sorted((at_s, address) for address, (at_s, _) in running.items())
        if course.next_s is not None and (not ends or course.next_s <= ends[0][0]):
            now_s = max(now_s, course.next_s)
            address = course.due(now_s)
            if address is not None:
                assert deadline.remaining_s(now_s) >= policy.retry.floor_s - 1e-9
                start(address)
                assert len(running) <= 2
            continue
        now_s, address = max(now_s, ends[0][0]), ends[0][1]
        _, attempt = running.pop(address)
        if attempt.failure is None:
            course.answered(address)
            break
        closed_until_s[address] = now_s + (attempt.failure.after_s or 0.0)
        if course.failed(address, attempt.failure, now_s):
            assert course.next_s is None or attempt.failure.after_s is None
            break
    most = {Repeats.NEVER: 1, Repeats.RETRY: policy.retry.attempts, Repeats.HEDGE: policy.retry.attempts + 1}
    assert 1 <= started <= most[repeats]
    counts = policy.counts()
    assert counts.calls == 1
    assert started == 1 + counts.retries + counts.hedges
