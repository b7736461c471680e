"""What one serving process runs: the gateway, from settings to drain. `serve.py` runs it here, `processes.py`
in several processes.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from gateway.app import Addresses, serve
from runtime.process import run
from runtime.settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


def serve_here(settings: Settings, store_url: str, ready: Callable[[Addresses], None]) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code. The log goes to stderr.

    Raises: as gateway.app.serve.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)

    async def main(stop: asyncio.Event) -> int:
        await serve(settings, store_url, stop, ready)
        return 0

    return run(main)
