"""The hold that a refresh has on its batch while it runs. It expires with the process, and whoever takes the
batch over then has it alone: the registry publishes nothing for a hold that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from forebay.errors import Conflict, Error

from registry.batch import Held
from registry.registry import Registry

HOLD_S = 60.0
"""How long a hold lasts that nobody renews."""
_RENEW_S = 15.0


async def take_hold(registry: Registry, batch: str, expected: str, holder: str) -> Held | None:
    """Return the hold on a batch; None where it isn't `expected`'s ("" for nobody's) any more."""
    if not await registry.hold_batch(batch, expected, holder, HOLD_S):
        return None
    return Held(batch, holder)


@asynccontextmanager
async def holding(registry: Registry, held: Held) -> AsyncIterator[None]:
    """Renew the hold until the end, then let go of it.

    A renewal that fails for Redis' sake is made again; that the hold is lost is found when publishing.
    """
    renewing = asyncio.create_task(_renew(registry, held))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        with suppress(Error):  # it expires by itself
            await registry.hold_batch(held.batch, held.holder, "")


async def check_hold(registry: Registry, held: Held) -> None:
    """Raises: Conflict where the batch is held by somebody else, or its hold has expired."""
    if not await registry.hold_batch(held.batch, held.holder, held.holder, HOLD_S):
        raise Conflict(f"batch {held.batch} was taken over by another refresh, after {HOLD_S:g} s of silence")


async def _renew(registry: Registry, held: Held) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        with suppress(Error):
            await registry.hold_batch(held.batch, held.holder, held.holder, HOLD_S)
