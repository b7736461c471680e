"""Follows the release pointer, so that a server learns of each new release within a poll."""

from __future__ import annotations

import asyncio
import logging

from forebay.errors import Error

from registry.registry import Registry
from registry.release import Release

logger = logging.getLogger(__name__)


class ReleaseWatcher:
    """An endless iterator over releases: the live one first, then each that a poll finds in its place.

    Releases that were live only between two polls are passed over. While the registry can't be read, it goes
    on trying; `failure` says why, and is None again once it can.
    """

    def __init__(self, registry: Registry, poll_s: float) -> None:
        self.failure: Error | None = None
        self._registry = registry
        self._poll_s = poll_s
        self._seen = 0

    def __aiter__(self) -> ReleaseWatcher:
        return self

    async def __anext__(self) -> Release:
        """Return the next release that is live and wasn't returned last. Cancellation: safe."""
        while True:
            release = await self._changed()
            if release is not None:
                return release
            await asyncio.sleep(self._poll_s)

    async def _changed(self) -> Release | None:
        """Return the live release unless it was seen last; None too while the registry can't be read."""
        try:
            number = await self._registry.live_number()
            release = await self._registry.live() if number not in (0, self._seen) else None
        except Error as error:
            if self.failure is None:
                logger.warning("the registry of %s can't be read: %s", self._registry.app, error.message)
            self.failure = error
            return None
        self.failure = None
        if release is not None:
            self._seen = release.number
        return release
