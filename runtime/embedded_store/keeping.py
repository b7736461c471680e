"""Keeps the embedded server running for as long as a server of ours needs it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from forebay.errors import Error

from runtime.embedded_store.joining import revive_embedded_store

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S: Final = 60.0


async def keep_running(directory: Path, look_s: float) -> None:
    """Start the server of `directory` again whenever it was killed, until cancelled.

    One that doesn't start is tried again at growing intervals; one that was stopped stays so. Cost: a look at
    the process every `look_s`; starting it blocks a thread.
    """
    wait_s = look_s
    while True:
        await asyncio.sleep(wait_s)
        try:
            if await asyncio.to_thread(revive_embedded_store, directory):
                logger.warning("the embedded store in %s was gone and is started again", directory)
            wait_s = look_s
        except Error as error:
            logger.error("the embedded store in %s is gone: %s", directory, error.message)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
