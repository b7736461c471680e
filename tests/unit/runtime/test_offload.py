import asyncio
import threading

import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded

from runtime.clock import ManualClock, SystemClock
from runtime.offload import Estimate, Offload


def test_an_estimate_follows_what_it_observes() -> None:
    estimate = Estimate()
    estimate.observe(0.020, 2)
    assert estimate.unit_s == 0.010
    for _ in range(40):
        estimate.observe(0.0001, 1)
    assert estimate.unit_s is not None
    assert estimate.unit_s < 0.0002


async def test_unknown_and_long_work_runs_in_a_thread_and_short_work_on_the_loop() -> None:
    clock = ManualClock()
    offload = Offload(clock, threads=1, inline_below_s=0.001)
    estimate = Estimate()
    loop_thread = threading.get_ident()

    def work(seconds: float) -> int:
        clock.advance(seconds)
        return threading.get_ident()

    assert await offload.run(estimate, 1, NEVER, lambda: work(0.0001)) != loop_thread
    assert await offload.run(estimate, 1, NEVER, lambda: work(0.02)) == loop_thread
    assert await offload.run(estimate, 1, NEVER, lambda: work(0.0001)) != loop_thread
    offload.close()


async def test_waiting_for_the_loop_does_not_count_as_work() -> None:
    offload = Offload(SystemClock(), threads=1, inline_below_s=0.01)
    estimate = Estimate()
    sleeping = threading.Event()
    await offload.run(estimate, 1, NEVER, lambda: sleeping.wait(0.05))
    assert estimate.unit_s is not None
    assert estimate.unit_s < 0.01
    offload.close()


async def test_work_that_is_not_done_in_time_is_given_up() -> None:
    clock = SystemClock()
    offload = Offload(clock, threads=1, inline_below_s=0.0)
    end = threading.Event()
    with pytest.raises(DeadlineExceeded):
        await offload.run(Estimate(), 1, Deadline.after(0.02, clock.monotonic_s()), lambda: end.wait(5))
    end.set()
    offload.close()


async def test_an_error_of_the_work_reaches_the_caller_from_either_place() -> None:
    offload = Offload(ManualClock(), threads=1, inline_below_s=1.0)
    estimate = Estimate()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await offload.run(estimate, 1, NEVER, lambda: 1 // 0)
        await asyncio.sleep(0)
    offload.close()
