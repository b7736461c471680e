"""The deadline layer, where gRPC can't be made to show the case."""

from __future__ import annotations

from typing import Any, cast

import pytest
from forebay.errors import DeadlineExceeded

from runtime.clock import ManualClock
from runtime.rpc.call import Call, Context
from runtime.rpc.layers import deadline


class LateContext:
    """What gRPC hands over with a call whose deadline has passed: it would run the method and answer OK."""

    def time_remaining(self) -> float:
        return 0.0


async def test_method_does_not_start_when_the_deadline_has_passed() -> None:
    started: list[Any] = []

    async def method(request: Any, call: Call) -> bytes:
        started.append(request)
        return b""

    call = Call("forebay.v1.PredictionService/Predict", cast(Context, LateContext()), 0.0, 0)
    with pytest.raises(DeadlineExceeded):
        await deadline(method, 60.0)(b"", call)
    assert started == []


class PromptContext:
    """A call with 10 ms left."""

    def time_remaining(self) -> float:
        return 0.010


@pytest.mark.parametrize(("takes_s", "in_time"), [(0.009, True), (0.011, False)])
async def test_no_answer_is_given_when_it_is_ready_after_the_deadline(takes_s: float, in_time: bool) -> None:
    clock = ManualClock(monotonic_s=5.0)

    async def method(request: Any, call: Call) -> bytes:
        clock.advance(takes_s)
        return b"answer"

    call = Call("forebay.v1.PredictionService/Predict", cast(Context, PromptContext()), 5.0, 0)
    step = deadline(method, 60.0, clock)
    if in_time:
        assert await step(b"", call) == b"answer"
    else:
        with pytest.raises(DeadlineExceeded, match="ready after the deadline"):
            await step(b"", call)
