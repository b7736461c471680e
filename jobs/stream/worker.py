"""A stream worker: takes partitions of an application's streams, follows what is live, and has a reader for
each partition it holds and a backfill for each view that needs one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from forebay.errors import Error, NotFound, NotUsable

from feature_store.schema import feature_view
from feature_store.windows.writer import WindowWriter
from jobs.batch_writer import new_writer
from jobs.stream.backfill import Backfill, Backfills, BackfillState
from jobs.stream.checkpoints import COUNTS, Checkpoints
from jobs.stream.event_sources import partition_count
from jobs.stream.feed import ViewFeed
from jobs.stream.leases import Leases
from jobs.stream.partition_reader import PartitionReader, PartitionState
from jobs.stream.partitions import PartitionKeys
from jobs.stream.session import Sessions
from registry.definitions import Stream
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release
from runtime.redis_connection import RedisConnection, RedisReplyError

logger = logging.getLogger(__name__)

_LOOKS_PER_LEASE = 4
_ONCE_POLL_S = 0.05
_COUNTED_S = 30.0
"""How long a new partition of a topic may go unnoticed."""


@dataclass(frozen=True, slots=True)
class StreamWork:
    """What is to be done for one stream: the views that it feeds, and those that need their history first."""

    stream: str
    definition: Stream
    partitions: int
    feeds: tuple[ViewFeed, ...]
    backfills: tuple[ViewFeed, ...]

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells whether readers must begin anew."""
        feeds = tuple((feed.feed, feed.cut_us, feed.writer.form, feed.writer.view.key) for feed in self.feeds)
        return self.definition, self.partitions, feeds


@dataclass(slots=True)
class _Held:
    """A partition that this worker reads."""

    reader: PartitionReader
    task: asyncio.Task[None]
    stop: asyncio.Event
    identity: tuple[object, ...]


@dataclass(slots=True)
class _Filling:
    backfill: Backfill
    task: asyncio.Task[None]
    stop: asyncio.Event


@dataclass(slots=True)
class WorkerState:
    """What a worker does, for who looks at it."""

    name: str
    partitions: dict[tuple[str, int], PartitionState] = field(default_factory=dict)
    backfills: dict[str, BackfillState] = field(default_factory=dict)
    problem: str = ""

    def lines(self) -> list[str]:
        """Return what was done, in a line per stream and per backfill."""
        lines = [
            f"history of {view}: {one.counts['applied']:,} applied" for view, one in self.backfills.items()
        ]
        for stream in dict.fromkeys(name for name, _ in self.partitions):
            counts: Counter[str] = Counter()
            for (name, _), one in self.partitions.items():
                if name == stream:
                    counts += one.counts
            said = ", ".join(f"{counts[name]:,} {name}" for name in COUNTS if counts[name])
            lines.append(f"stream {stream}: {said or 'nothing new'}")
        return lines


def _nobody() -> None:
    """Tell nobody."""


class StreamWorker:
    """Feeds the views of an application's streams: of all, or of those named."""

    def __init__(
        self,
        sessions: Sessions,
        connection: RedisConnection,
        streams: Sequence[str] = (),
        *,
        once: bool = False,
    ) -> None:
        self.state = WorkerState(new_writer())
        self._sessions = sessions
        self._connection = connection
        self._names = tuple(streams)
        self._once = once
        settings = sessions.settings
        self._registry = Registry(connection, sessions.app, sessions.clock)
        self._backfills = Backfills(connection, sessions.app)
        self._leases = Leases(
            connection, sessions.app, self.state.name, settings.stream.lease_s, sessions.clock
        )
        looks_s = min(settings.registry.poll_s, settings.stream.lease_s / _LOOKS_PER_LEASE)
        self._poll_s = _ONCE_POLL_S if once else looks_s
        self._held: dict[tuple[str, int], _Held] = {}
        self._filling: dict[str, _Filling] = {}
        self._done: dict[tuple[str, int], tuple[object, ...]] = {}
        self._counted: dict[str, tuple[Stream, int, float]] = {}
        self._targets: dict[tuple[str, int], int] = {}

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = _nobody) -> None:
        """Work until `stop` is set, and the chunks under way have ended; with `once`, until all is applied
        that the streams held at the beginning. `ready` is called when it begins.

        Raises: at its first look NotFound for a stream that there isn't, NotUsable where nothing is applied,
        and what the store does; later failures of the store are waited out.
        """
        works, looked = await self._look(), True
        ready()
        try:
            while True:
                if await self._tend(works) and looked:
                    self.state.problem = ""
                if self._once and await self._all_done(works):
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await stop.wait()
                if stop.is_set():
                    return
                found = await self._look_again()
                works, looked = (works, False) if found is None else (found, True)
        finally:
            await self._release_all(works)

    async def _look(self) -> list[StreamWork]:
        """Return what is to be done as things are live."""
        live = await self._registry.live()
        if live is None:
            raise NotUsable(f"no application {self._sessions.app} is applied: run `forebay apply FILE` first")
        plan = await self._registry.plan(live.plan)
        for name in self._names:
            if name not in plan.application.streams:
                known = ", ".join(plan.application.streams) or "none"
                raise NotFound(f"{plan.app} has no stream {name!r}; its streams: {known}")
        self._plan = plan
        names = self._names or tuple(plan.application.streams)
        return [work for name in names if (work := await self._work(plan, live, name)) is not None]

    async def _look_again(self) -> list[StreamWork] | None:
        """Return what is to be done now; None where that can't be told."""
        try:
            return await self._look()
        except (Error, RedisReplyError) as error:
            self._meet("what is live can't be looked up", error)
            return None

    async def _work(self, plan: Plan, live: Release, name: str) -> StreamWork | None:
        stream = plan.application.streams[name]
        feeds = list(view_feeds(plan, live, name, self._sessions.settings.feature_store.max_lateness_s))
        if not feeds:
            return None
        partitions = await self._partition_count(name, stream)
        if stream.history is None:
            return StreamWork(name, stream, partitions, tuple(feeds), ())
        cuts = [await self._backfills.cut_us(feed.feed) for feed in feeds]
        pairs = list(zip(feeds, cuts, strict=True))
        ready = tuple(ViewFeed(feed.writer, cut) for feed, cut in pairs if cut is not None)
        waiting = tuple(feed for feed, cut in pairs if cut is None)
        return StreamWork(name, stream, partitions, ready, waiting)

    async def _partition_count(self, name: str, stream: Stream) -> int:
        """Return how many partitions a stream has; a topic may get more."""
        now_s = self._sessions.clock.monotonic_s()
        known = self._counted.get(name)
        if known is None or known[0] != stream or now_s > known[2] + _COUNTED_S:
            count = await partition_count(stream, self._sessions.settings.stream)
            known = self._counted[name] = stream, count, now_s
        return known[1]

    def _meet(self, what: str, error: Exception) -> None:
        """Say what keeps the worker from its work, once."""
        if str(error) != self.state.problem:
            self.state.problem = str(error)
            logger.error("%s: %s", what, error)

    async def _tend(self, works: Sequence[StreamWork]) -> bool:
        """Take and keep partitions, give up those that others should have, begin and end readers.

        Returns whether all of that could be done.
        """
        try:
            for work in works:
                await self._tend_backfills(work)
                await self._tend_partitions(work)
            for key in [key for key in self._held if key[0] not in {work.stream for work in works}]:
                await self._release(key)
        except (Error, RedisReplyError) as error:
            self._meet("leases can't be kept", error)
            return False
        return True

    async def _tend_partitions(self, work: StreamWork) -> None:
        share = math.ceil(work.partitions / await self._leases.join(work.stream))
        for key in [key for key in self._held if key[0] == work.stream]:
            await self._tend_held(key, work)
        if not work.feeds or (self._once and work.backfills):
            return
        mine = [key for key in self._held if key[0] == work.stream]
        for key in mine[share:]:
            await self._release(key)
        for partition in range(work.partitions):
            key = work.stream, partition
            if key in self._held or self._done.get(key) == work.identity or len(mine) >= share:
                continue
            if await self._leases.take(self._lease(key)):
                self._begin(key, work)
                mine.append(key)

    async def _tend_held(self, key: tuple[str, int], work: StreamWork) -> None:
        held = self._held[key]
        if held.task.done():
            if held.reader.state.finished:
                self._done[key] = held.identity
            await self._release(key)
        elif held.identity != work.identity or not await self._leases.keep(self._lease(key)):
            await self._release(key)

    def _begin(self, key: tuple[str, int], work: StreamWork) -> None:
        stream, partition = key
        reader = PartitionReader(
            self._sessions,
            self._plan.application,
            stream,
            partition,
            work.partitions,
            work.feeds,
            self.state.name,
            once=self._once,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(reader.run(stop), name=f"stream {stream} {partition}")
        self._held[key] = _Held(reader, task, stop, work.identity)
        if key in self.state.partitions:
            reader.state.counts += self.state.partitions[key].counts
        self.state.partitions[key] = reader.state

    async def _release(self, key: tuple[str, int]) -> None:
        held = self._held.pop(key)
        held.stop.set()
        await held.task
        if not held.reader.state.finished:
            self.state.partitions.pop(key, None)
        await self._leases.give_up(self._lease(key))

    async def _tend_backfills(self, work: StreamWork) -> None:
        waiting = {feed.view: feed for feed in work.backfills}
        for view, feed in waiting.items():
            filling = self._filling.get(view)
            if filling is not None and filling.backfill.feed.feed == feed.feed and not filling.task.done():
                await self._leases.keep(self._backfills.lease(feed.feed))
            elif await self._leases.take(self._backfills.lease(feed.feed)) or filling is not None:
                self._fill(work.stream, feed)
        for view in [view for view, one in self._filling.items() if one.backfill.stream == work.stream]:
            if view not in waiting:
                await self._end_filling(view)

    def _fill(self, stream: str, feed: ViewFeed) -> None:
        stop = asyncio.Event()
        backfill = Backfill(self._sessions, self._plan, stream, feed)
        task = asyncio.create_task(backfill.run(stop), name=f"backfill {feed.view}")
        self._filling[feed.view] = _Filling(backfill, task, stop)
        self.state.backfills[feed.view] = backfill.state

    async def _end_filling(self, view: str) -> None:
        filling = self._filling.pop(view)
        filling.stop.set()
        await filling.task
        await self._leases.give_up(self._backfills.lease(filling.backfill.feed.feed))

    async def _all_done(self, works: Sequence[StreamWork]) -> bool:
        if any(work.backfills for work in works):
            return False
        for work in works:
            for partition in range(work.partitions):
                key = work.stream, partition
                if self._done.get(key) != work.identity and not await self._done_by_another(key):
                    return False
        return True

    async def _done_by_another(self, key: tuple[str, int]) -> bool:
        """Return whether a partition that somebody else reads has come as far as it reached at the
        beginning."""
        if key in self._held:
            return False
        stream, partition = key
        checkpoint = await Checkpoints(
            self._connection, PartitionKeys(self._sessions.app, stream, partition)
        ).read()
        if key not in self._targets:
            definition = self._plan.application.streams[stream]
            async with self._sessions.open(stream, definition, partition) as session:
                self._targets[key] = (await session.source.extent()).newest
        return checkpoint is not None and checkpoint.last.position >= self._targets[key]

    async def _release_all(self, works: Iterable[StreamWork]) -> None:
        for filling in self._filling.values():
            filling.stop.set()
        for held in self._held.values():
            held.stop.set()
        tasks = [held.task for held in self._held.values()] + [one.task for one in self._filling.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Error, RedisReplyError):
            for view in list(self._filling):
                await self._end_filling(view)
            for key in list(self._held):
                await self._release(key)
            for work in works:
                await self._leases.leave(work.stream)

    def _lease(self, key: tuple[str, int]) -> str:
        return PartitionKeys(self._sessions.app, *key).lease


def view_feeds(plan: Plan, live: Release, stream: str, max_lateness_s: float) -> Iterable[ViewFeed]:
    """Return a feed for each view of a stream that has rows live."""
    for name, view in plan.application.views.items():
        entry = live.views.get(name)
        if view.stream == stream and entry is not None:
            yield ViewFeed(WindowWriter(feature_view(plan, name), entry.generation, max_lateness_s))
