"""Waits for what nobody tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONG_S = 20.0


async def until(condition: Callable[[], object], within_s: float = LONG_S) -> None:
    """Return when the condition holds. Raises: TimeoutError when it doesn't in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
