"""The deadline layer, where gRPC can't be made to show the case."""

from __future__ import annotations

from typing import Any, cast

import pytest
from forebay.errors import DeadlineExceeded

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
