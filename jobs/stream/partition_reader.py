"""One partition of a stream: read from its checkpoint in order, decoded, applied to the views it feeds,
noted. The next chunk is read and decoded while one is applied. What fails is begun again from the stored
checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from forebay.errors import Error, Unavailable
from numpy.typing import NDArray

from feature_store.windows.events import Source
from jobs.stream.checkpoints import Feed
from jobs.stream.decoding import EventDecoder
from jobs.stream.events import Decoded, event_fields
from jobs.stream.feed import ViewFeed
from jobs.stream.session import Session, Sessions
from jobs.stream.source import BEGINNING, Entries, LastRead, lag_of, lost_behind
from registry.definitions import Application
from registry.watermarks import Advance, ViewGeneration
from runtime.redis_connection import RedisReplyError

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_LONGEST_WAIT_S = 1.0
_HALF = 2


@dataclass(slots=True)
class PartitionState:
    """What a reader has done and how far it is, for who looks at it."""

    stream: str
    partition: int
    counts: Counter[str] = field(default_factory=Counter)
    """By the names of checkpoints.COUNTS, since the reader began."""
    read: int = 0
    lag: int | None = None
    watermark_us: int | None = None
    problem: str = ""
    finished: bool = False
    """Whether all is applied that the partition held when the reader began."""


@dataclass(slots=True)
class _Progress:
    """Where a session is. `cursor`: what was read last; `last`: the end of what all views have, which a
    session that reads again what came before lies behind at first. `refused`: the positions of dead letters
    that may come again."""

    last: LastRead
    cursor: int
    positions: dict[Feed, int]
    after: dict[Feed, int]
    source: Source
    refused: NDArray[np.int64]
    counts: Counter[str] = field(default_factory=Counter)
    newest_us: int | None = None
    complete_us: int | None = None
    noted_s: float = -1e9


@dataclass(frozen=True, slots=True)
class _Chunk:
    entries: Entries
    decoded: Decoded
    began_us: int


class PartitionReader:
    """Feeds views from one partition until it is stopped, or, `once`, until it has what was there at
    first."""

    def __init__(
        self,
        sessions: Sessions,
        application: Application,
        stream: str,
        partition: int,
        partitions: int,
        feeds: Sequence[ViewFeed],
        worker: str,
        *,
        once: bool = False,
    ) -> None:
        self.state = PartitionState(stream, partition)
        self._sessions = sessions
        self._definition = application.streams[stream]
        self._fields = event_fields(application, stream)
        self._partitions = partitions
        self._feeds = feeds
        self._worker = worker
        self._once = once
        self._target: int | None = None
        self._settings = sessions.settings.stream
        self._clock = sessions.clock
        self._wait_s = min(
            self._settings.checkpoint_s,
            _LONGEST_WAIT_S,
            sessions.settings.redis.max_unanswered_age_s / _HALF,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set, or it is finished. Failures are waited out; nothing is passed over.

        Cancellation: what was applied and not noted is read again by whoever goes on, and changes nothing.
        """
        pause_s = _FIRST_PAUSE_S
        while not (stop.is_set() or self.state.finished):
            read = self.state.read
            try:
                await self._session(stop)
            except Exception as error:  # noqa: BLE001  whatever it is, the partition waits: no event is dropped
                if self.state.read > read:
                    pause_s = _FIRST_PAUSE_S
                await self._blocked(error)
                await _pause(stop, pause_s * random.uniform(0.5, 1))
                pause_s = min(2 * pause_s, self._settings.retry_longest_s)

    async def _session(self, stop: asyncio.Event) -> None:
        async with self._sessions.open(self.state.stream, self._definition, self.state.partition) as session:
            progress = await self._begin(session)
            decoder = EventDecoder(
                self._fields,
                self._definition.event_time,
                session.source.format,
                round(self._settings.max_skew_s * 1e6),
            )
            stopping = asyncio.ensure_future(stop.wait())
            reading = asyncio.ensure_future(self._read(session, decoder, progress.cursor))
            try:
                while True:
                    await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        break
                    chunk = reading.result()
                    if chunk.entries.count:
                        progress.cursor = int(chunk.entries.positions[-1])
                    finished = self._is_finished(chunk, progress)
                    if not (finished or stop.is_set()):
                        reading = asyncio.ensure_future(self._read(session, decoder, progress.cursor))
                    await self._apply(session, progress, chunk)
                    if finished or stop.is_set():
                        break
                    if self._clock.monotonic_s() >= progress.noted_s + self._settings.checkpoint_s:
                        await self._note(session, progress)
                await self._note(session, progress)
                self.state.finished = self._once and not stop.is_set()
            finally:
                for task in (stopping, reading):
                    task.cancel()
                await asyncio.gather(stopping, reading, return_exceptions=True)

    async def _begin(self, session: Session) -> _Progress:
        """Find where to go on: where the view that is furthest behind is, less the replay window."""
        stored = await session.checkpoints.read()
        known = stored.last if stored is not None and stored.last.incarnation else None
        incarnation = await session.source.identify(known)
        extent = await session.source.extent()
        positions = {feed.feed: BEGINNING for feed in self._feeds}
        if known is not None and stored is not None and known.incarnation == incarnation:
            positions = {feed: stored.positions.get(feed, BEGINNING) for feed in positions}
        elif known is not None and stored is not None:
            await session.checkpoints.forget(stored.positions)  # also of rows that aren't fed now
            self._warn("is another stream than the one that was read: all that it holds is read")
        last = LastRead(incarnation, min(positions.values()))
        dropped = extent.added - extent.held
        if known is not None and last.incarnation == known.incarnation and last.position == known.position:
            last = known
        else:
            last = replace(last, ordinal=dropped if known is None else max(known.ordinal, dropped))
            if last.position == BEGINNING:
                last = replace(last, ordinal=dropped)
        window_s = self._settings.replay_window_s
        after: dict[Feed, int] = {}
        for feed, position in positions.items():
            of = last if position == last.position else LastRead(incarnation, position)
            after[feed] = await session.source.rewound(of, window_s)
        source = Source(int(incarnation, 16), self.state.partition)
        if self._target is None:
            self._target = extent.newest
        refused = await session.letters.refused(incarnation)
        progress = _Progress(last, min(after.values()), positions, after, source, refused)
        progress.cursor = min(progress.cursor, extent.newest)
        await self._note(session, progress)
        return progress

    async def _read(self, session: Session, decoder: EventDecoder, after: int) -> _Chunk:
        began_us = self._clock.now_us()
        entries = await session.source.read(after, self._settings.chunk_events, self._wait_s)
        # Nothing is complete up to now, though nothing came: this process may have been stopped since the
        # answer, and what came meanwhile isn't in it.
        return _Chunk(entries, decoder.decode(entries, self._clock.now_us()), began_us)

    def _is_finished(self, chunk: _Chunk, progress: _Progress) -> bool:
        target = BEGINNING if self._target is None else self._target
        return self._once and (progress.cursor >= target or chunk.entries.at_end)

    async def _apply(self, session: Session, progress: _Progress, chunk: _Chunk) -> None:
        chunk = _without(progress.refused, chunk)
        entries, decoded = chunk.entries, chunk.decoded
        if entries.count:
            await self._bury(session, progress, decoded)
            end = int(entries.positions[-1])
            now_us = self._clock.now_us()
            fed = [feed for feed in self._feeds if progress.after[feed.feed] < end]
            events = decoded.events
            applied = [
                feed.apply(
                    session.store,
                    events.where(events.positions > progress.after[feed.feed]),
                    progress.source,
                    now_us,
                )
                for feed in fed
            ]
            for counts in await asyncio.gather(*applied):
                progress.counts += counts
                self.state.counts += counts
            self._advance(progress, chunk)
            self.state.read += entries.count
        if entries.at_end:
            progress.complete_us = max(chunk.began_us, progress.complete_us or chunk.began_us)

    def _advance(self, progress: _Progress, chunk: _Chunk) -> None:
        """Take note of what was applied; the store hears of it with the next checkpoint."""
        entries, times_us = chunk.entries, chunk.decoded.events.event_times_us
        end = int(entries.positions[-1])
        for feed, position in progress.positions.items():
            progress.positions[feed] = max(position, end)
        if end > progress.last.position:
            new = int(np.count_nonzero(entries.positions > progress.last.position))
            ordinal = progress.last.ordinal + new
            progress.last = LastRead(progress.last.incarnation, end, ordinal, entries.published_ms)
        if times_us.size:
            newest_us = int(times_us.max())
            if entries.published_ms:  # What isn't read yet came later, but may say that it happened by then.
                newest_us = min(newest_us, 1_000 * entries.published_ms)
            progress.newest_us = max(newest_us, progress.newest_us or newest_us)

    async def _bury(self, session: Session, progress: _Progress, decoded: Decoded) -> None:
        if not decoded.invalid:
            return
        settings = self._settings
        added = await session.letters.bury(
            progress.last.incarnation,
            decoded.invalid,
            session.source.format,
            self._clock.now_us(),
            settings.max_letter_bytes,
            settings.kept_dead_letters,
        )
        if added:
            self.state.counts["invalid"] += added
            self._warn(f"{added} events became dead letters, the last for: {decoded.invalid[-1].reason}")

    async def _note(self, session: Session, progress: _Progress) -> None:
        """Write the checkpoint, then the watermarks; look at how far behind it is, and whether any were
        lost."""
        asked_us = self._clock.now_us()
        extent = await session.source.extent()
        if extent.newest <= progress.cursor:
            progress.complete_us = max(asked_us, progress.complete_us or asked_us)
        if extent.newest < progress.last.position:
            raise Unavailable("the stream has lost its end, or was made anew")
        lost = lost_behind(extent, progress.last)
        if lost:
            progress.counts["lost"] += lost
            self.state.counts["lost"] += lost
            self._warn(f"{lost} events were dropped from the stream before they were read: they are LOST")
            progress.last = replace(progress.last, ordinal=extent.added - extent.held)
        elif extent.newest == progress.last.position:
            progress.last = replace(progress.last, ordinal=extent.added)
        now_us = self._clock.now_us()
        increments, progress.counts = progress.counts, Counter()
        await session.checkpoints.write(progress.last, progress.positions, increments, now_us, self._worker)
        self.state.lag = lag_of(extent, progress.last)
        await self._advance_watermarks(session, progress, now_us)
        progress.noted_s = self._clock.monotonic_s()
        if self.state.problem:
            logger.info("%s goes on", self._name)
            self.state.problem = ""

    async def _advance_watermarks(self, session: Session, progress: _Progress, now_us: int) -> None:
        complete_us = self._complete_us(progress, now_us)
        if complete_us is None:
            return
        advances = [
            Advance(ViewGeneration(*feed), self._partitions, self.state.partition, complete_us)
            for feed in progress.positions
        ]
        await session.watermarks.advance(advances, now_us)
        self.state.watermark_us = complete_us

    def _complete_us(self, progress: _Progress, now_us: int) -> int | None:
        """Return the time up to which all events are applied: that at which the partition's end was reached,
        however old the last event is, or what the newest event says. None: not known yet."""
        known = []
        if progress.complete_us is not None:
            known.append(progress.complete_us - round(self._settings.idle_margin_s * 1e6))
        if progress.newest_us is not None:
            newest_us = min(progress.newest_us, now_us)
            known.append(newest_us - round(self._settings.allowed_lateness_s * 1e6))
        return max(known, default=None)

    async def _blocked(self, error: Exception) -> None:
        known = isinstance(error, Error)
        problem = str(error) if known else f"{type(error).__name__}: {error} (a bug)"
        if problem == self.state.problem:
            return
        self.state.problem = problem
        logger.error("%s waits: %s", self._name, problem, exc_info=None if known else error)
        with suppress(Error, RedisReplyError):
            async with self._sessions.open(
                self.state.stream, self._definition, self.state.partition
            ) as session:
                await session.checkpoints.block(problem)

    def _warn(self, message: str) -> None:
        logger.warning("%s: %s", self._name, message)

    @property
    def _name(self) -> str:
        return f"stream {self.state.stream}, partition {self.state.partition}"


def _without(refused: NDArray[np.int64], chunk: _Chunk) -> _Chunk:
    """Return the chunk without events that became dead letters when they were read before, as by a clock that
    they were too early for: they may have been put back, and would count twice."""
    events = chunk.decoded.events
    if not (refused.size and events.count and events.positions[0] <= refused[-1]):
        return chunk
    events = events.where(~np.isin(events.positions, refused))
    return replace(chunk, decoded=replace(chunk.decoded, events=events))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
