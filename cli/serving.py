"""What one serving process runs: the gateway, from settings to drain. `serve.py` runs it here, `processes.py`
in several processes.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.app import Addresses, serve
from runtime.embedded_store import keep_running
from runtime.process import run
from runtime.redis_settings import RedisSettings
from runtime.settings import Settings

_LOOK_S = 1.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


def serve_here(settings: Settings, store_url: str, ready: Callable[[Addresses], None]) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code. The log goes to stderr.

    Raises: as gateway.app.serve.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)

    async def main(stop: asyncio.Event) -> int:
        async with _kept_running(settings.redis):
            await serve(settings, store_url, stop, ready)
        return 0

    return run(main)


@asynccontextmanager
async def _kept_running(redis: RedisSettings) -> AsyncIterator[None]:
    """Start the embedded store again if it is killed meanwhile; a store that was set isn't ours to start."""
    if redis.url:
        yield
        return
    keeper = asyncio.create_task(keep_running(redis.embedded_directory, _LOOK_S))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
