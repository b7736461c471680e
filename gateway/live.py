"""What this process serves now: follows the release pointer, compiles each new release in a thread, and swaps
one reference. A request pins the release it reads here; nothing on its path waits for the registry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from forebay.errors import Error, NotUsable, Unavailable

from feature_store.windows.freshness import StreamFreshness
from gateway.compile import compile_release
from gateway.plan import CompiledRelease
from gateway.shelf import Shelf
from gateway.warm import warm
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release

logger = logging.getLogger(__name__)


_MOST_POLLS_OFF: Final = 64
"""The longest that a refused release waits to be tried again, in polls."""


class LiveRelease:
    """The release in service, and the task that keeps it so."""

    def __init__(self, registry: Registry, shelf: Callable[[Path], Shelf], poll_s: float) -> None:
        self._registry = registry
        self._make_shelf = shelf
        self._shelves: dict[str, Shelf] = {}
        self._poll_s = poll_s
        self._current: CompiledRelease | None = None
        self._freshness = StreamFreshness()
        self._watermark_error = ""
        self._release: Release | None = None
        self._named: tuple[Plan, Release] | None = None
        self._refused: Release | None = None
        self._attempts = 0
        self._polls_off = 0
        self.pending_error = ""
        """Why the newest release is not the one in service; empty when it is."""

    @property
    def current(self) -> CompiledRelease:
        """The release in service. Raises: Unavailable while none is."""
        if self._current is None:
            raise Unavailable("the server is starting: no release is loaded yet")
        return self._current

    @property
    def loaded(self) -> bool:
        """Whether a release is in service."""
        return self._current is not None

    async def follow(self, on_swap: Callable[[CompiledRelease], Awaitable[None]]) -> None:
        """Keep up with the registry until cancelled; call `on_swap` after each swap.

        A registry that can't be reached, or has lost the application, leaves the release in service as it is.

        Raises: NotUsable when the application is not applied and no release is in service.
        """
        while True:
            try:
                number = await self._registry.live_number()
                if self._reads_streams(self._current):
                    await self._read_watermarks()
                if number == 0:
                    self._miss()
                elif await self._consider(await self._registry.release(number)):
                    await on_swap(self.current)
            except Error as error:
                if isinstance(error, NotUsable) and not self.loaded:
                    raise
                self._refuse(f"the registry can't be read: {error.message}")
            except Exception as error:
                if not self.loaded:
                    raise
                logger.error("the newest release can't be compiled", exc_info=error)
                self._refuse(f"the newest release can't be compiled: {type(error).__name__}, see the log")
            await asyncio.sleep(self._poll_s)

    def _miss(self) -> None:
        """Take note that nothing is applied: the end of a server that starts, not of one that serves."""
        missing = f"no application {self._registry.app} is applied; run `forebay apply FILE`"
        if not self.loaded:
            raise NotUsable(missing)
        self._refuse(missing)

    async def _consider(self, release: Release) -> bool:
        """Put the newest release in service where it isn't yet, and return whether that was done now.

        One that was refused is tried again, for what it lacks may come; at growing intervals, since compiling
        it costs the processor time that requests need. It is the record that counts, not its number: in a
        registry that was emptied and set up anew numbers come again.
        """
        if release == self._release:
            self._answered()
            return False
        if release == self._refused and self._polls_off > 0:
            self._polls_off -= 1
            return False
        if self._release is not None and release.number <= self._release.number:
            self._shelves.clear()
        try:
            done = await self._load(release)
        except Error:
            raise
        except Exception:
            self._put_off(release)
            raise
        if not done:
            self._put_off(release)
        return done

    def _put_off(self, release: Release) -> None:
        self._attempts = self._attempts + 1 if release == self._refused else 1
        self._refused = release
        self._polls_off = min(2**self._attempts, _MOST_POLLS_OFF) - 1

    async def _load(self, release: Release) -> bool:
        """Compile a release and put it in service, unless a pipeline that works now would stop working."""
        plan = await self._registry.plan(release.plan)
        shelf = self._shelves.setdefault(plan.root, self._make_shelf(Path(plan.root)))
        compiled = await asyncio.to_thread(_compiled, plan, release, shelf, self._freshness)
        lost = self._lost(compiled)
        if lost:
            self._refuse(f"release {release.number} is not put in service: {lost}")
            return False
        if self._reads_streams(compiled):
            await self._read_watermarks()
        for name, reason in {**compiled.broken_indexes, **compiled.broken_pipelines}.items():
            logger.warning("release %d: %s can't be used: %s", release.number, name, reason)
        for name, reason in compiled.uncovered.items():
            logger.warning("release %d: pipeline %s: %s", release.number, name, reason)
        logger.info("release %d (plan %d) is in service", release.number, release.plan)
        named = plan, release
        previous, self._named = self._named, named
        self._release, self._current = release, compiled
        self._refused = None
        self.pending_error = ""
        self._shelves = {root: one for root, one in self._shelves.items() if one is shelf}
        shelf.keep_only(named, *([] if previous is None else [previous]))
        return True

    @staticmethod
    def _reads_streams(release: CompiledRelease | None) -> bool:
        return release is not None and any(reader.view.ring for reader in release.readers.values())

    async def _read_watermarks(self) -> None:
        """Tell the readers of windows how far streams have come; where that can't be told, they keep what
        they know, which ages.
        """
        try:
            lowest_us = await self._registry.watermarks.lowest()
            self._freshness.tell(lowest_us, asyncio.get_running_loop().time())
            self._watermark_error = ""
        except Error as error:
            if not self._freshness.is_told():
                self._freshness.tell({}, asyncio.get_running_loop().time())
            if error.message != self._watermark_error:
                logger.error("the streams' watermarks can't be read: %s", error.message)
            self._watermark_error = error.message

    def _lost(self, compiled: CompiledRelease) -> str:
        if self._current is None:
            return ""
        return "; ".join(
            f"{kind} {name}: {reason}"
            for kind, working, broken in (
                ("pipeline", self._current.pipelines, compiled.broken_pipelines),
                ("index", self._current.indexes, compiled.broken_indexes),
            )
            for name, reason in broken.items()
            if name in working
        )

    def _answered(self) -> None:
        """Forget a failure that is over: the registry answers, and the newest release is in service."""
        if self.pending_error:
            logger.info("the registry can be read again")
        self.pending_error = ""

    def _refuse(self, reason: str) -> None:
        """Keep the reason, and log it once: the attempt is made again."""
        if reason != self.pending_error:
            logger.error("%s", reason)
        self.pending_error = reason


def _compiled(plan: Plan, release: Release, shelf: Shelf, freshness: StreamFreshness) -> CompiledRelease:
    compiled = compile_release(plan, release, shelf, freshness)
    warm(compiled)
    return compiled
