"""A view's history brought into its rows before its stream is: the source that the stream names as `history`,
in the order of event time. How far it is, is noted in Redis; a run that was killed is gone on with.

History and stream overlap, and no event may count twice: the history gives events up to the cut, and the
stream those after it. The cut is the newest event time in the history when the backfill begins, the present
at most.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.errors import Error, NotUsable

from feature_store.redis_store import RedisStore
from feature_store.windows.events import Source
from jobs.in_thread import in_thread
from jobs.sources import Sources
from jobs.stream.checkpoints import Feed
from jobs.stream.events import event_fields
from jobs.stream.feed import ViewFeed
from jobs.stream.history import History, HistoryChunk
from jobs.stream.session import Sessions
from registry.plan import Plan
from runtime.redis_connection import RedisConnection, RedisReplyError

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_REPEATED_CHUNKS = 2
"""So many chunks before its note a backfill begins again: what a failover took with it comes back."""


@dataclass(frozen=True, slots=True)
class BackfillRecord:
    """How far a view's history is in its rows. Events after `since_us` and up to `cut_us` are brought in;
    `position` of them are. `files` tells what was read from, where that can be known."""

    since_us: int
    cut_us: int
    position: int = 0
    files: str = ""
    is_done: bool = False


@dataclass(slots=True)
class BackfillState:
    """What a backfill has done and how far it is, for who looks at it."""

    view: str
    done: int = 0
    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problem: str = ""
    is_done: bool = False


class Backfills:
    """The records of an application's backfills. Raises: what the connection does."""

    def __init__(self, connection: RedisConnection, app: str) -> None:
        self._connection = connection
        self._app = app

    def lease(self, feed: Feed) -> str:
        """Return the key of the lease of who runs a view's backfill."""
        return f"{self._key(feed)}:lease"

    async def read(self, feed: Feed) -> BackfillRecord | None:
        """Return the record; None where the backfill never began."""
        reply = await self._connection.execute("HGETALL", self._key(feed))
        texts = {bytes(name).decode(): bytes(value).decode() for name, value in _pairs(reply)}
        if not texts:
            return None
        return BackfillRecord(
            int(texts["since_us"]),
            int(texts["cut_us"]),
            int(texts["position"]),
            texts["files"],
            texts["is_done"] == "1",
        )

    async def cut_us(self, feed: Feed) -> int | None:
        """Return the cut of a backfill that is done; None where it isn't."""
        record = await self.read(feed)
        return record.cut_us if record is not None and record.is_done else None

    async def write(self, feed: Feed, record: BackfillRecord) -> None:
        """Store the record."""
        await self._connection.execute(
            *("HSET", self._key(feed), "since_us", record.since_us, "cut_us", record.cut_us),
            *("position", record.position, "files", record.files, "is_done", int(record.is_done)),
        )

    def _key(self, feed: Feed) -> str:
        return f"forebay:{{{self._app}}}:backfill:{feed[0]}:{feed[1]}"


class Backfill:
    """One view's backfill. Run again, by anybody, it goes on where the record says, and changes nothing
    twice."""

    def __init__(self, sessions: Sessions, plan: Plan, stream: str, feed: ViewFeed) -> None:
        self.state = BackfillState(feed.view)
        self.stream = stream
        self.feed = feed
        self._sessions = sessions
        self._plan = plan
        self._settings = sessions.settings
        self._clock = sessions.clock

    async def run(self, stop: asyncio.Event) -> None:
        """Run until it is done or `stop` is set. Failures are waited out: until it is done, the view reads
        STALE."""
        pause_s = _FIRST_PAUSE_S
        while not (stop.is_set() or self.state.is_done):
            try:
                await self._fill(stop)
            except Exception as error:  # noqa: BLE001  whatever it is, the view waits
                self._blocked(error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s * random.uniform(0.5, 1)):
                        await stop.wait()
                pause_s = min(2 * pause_s, self._settings.stream.retry_longest_s)

    async def _fill(self, stop: asyncio.Event) -> None:
        connection = await self._sessions.connect()
        try:
            records = Backfills(connection, self._plan.app)
            store = RedisStore(connection, self._settings.feature_store)
            sources = Sources(
                self._plan.application.sources,
                Path(self._plan.root),
                self._settings.refresh.engine_memory_bytes,
            )
            with sources:
                history = await in_thread(self._history, sources)
                record = await self._begin(records, history)
                if not record.is_done:
                    await self._bring(history, record, store, records, stop)
        finally:
            await connection.aclose()

    def _history(self, sources: Sources) -> History:
        application = self._plan.application
        fields = event_fields(application, self.stream)
        wanted = {*self.feed.writer.fields, *(key.name for key in self.feed.writer.view.key)}
        stream = application.streams[self.stream]
        return History(
            sources, stream, [one for one in fields if one.name in wanted], self._plan, self.feed.view
        )

    async def _begin(self, records: Backfills, history: History) -> BackfillRecord:
        """Return how far the backfill is; where it never began, set the cut for good."""
        files = await in_thread(history.files)
        record = await records.read(self.feed.feed)
        if record is None:
            now_us = self._clock.now_us()
            span_us = self.feed.writer.form.ring.span_us
            cut_us = await in_thread(history.newest_us, now_us)
            record = BackfillRecord(
                now_us - span_us, now_us - span_us if cut_us is None else cut_us, 0, files
            )
            await records.write(self.feed.feed, record)
        elif not record.is_done and record.files != files:
            raise NotUsable(
                f"the history of view {self.feed.view} was changed while it was brought in, and its rows "
                "would hold parts of both: put it back as it was, or begin anew with "
                f"`forebay stream backfill {self.feed.view} --anew`"
            )
        return record

    async def _bring(
        self,
        history: History,
        record: BackfillRecord,
        store: RedisStore,
        records: Backfills,
        stop: asyncio.Event,
    ) -> None:
        feed, size = self.feed, self._settings.stream.history_chunk_events
        source = Source(_incarnation(self._plan.app, feed.feed), 0)
        self.state.total = await in_thread(history.count, record.since_us, record.cut_us)
        position = max(0, record.position - _REPEATED_CHUNKS * size)
        chunks = history.chunks(record.since_us, record.cut_us, position, size)
        try:
            while (chunk := await in_thread(_next, chunks)) is not None:
                self.state.counts += await feed.apply(store, chunk.events, source, self._clock.now_us())
                self.state.counts["invalid"] += chunk.invalid
                self.state.done = position = chunk.end
                if position > record.position:
                    record = BackfillRecord(record.since_us, record.cut_us, position, record.files)
                    await records.write(feed.feed, record)
                self._answered()
                if stop.is_set():
                    return
        finally:
            await in_thread(chunks.close)
        done = BackfillRecord(record.since_us, record.cut_us, position, record.files, is_done=True)
        await records.write(feed.feed, done)
        self.state.is_done = True
        logger.info("the history of view %s is in its rows: %d events", feed.view, position)

    def _blocked(self, error: Exception) -> None:
        known = isinstance(error, (Error, RedisReplyError))
        problem = str(error) if known else f"{type(error).__name__}: {error} (a bug)"
        if problem != self.state.problem:
            logger.error(
                "the history of view %s waits: %s", self.feed.view, problem, exc_info=None if known else error
            )
        self.state.problem = problem

    def _answered(self) -> None:
        if self.state.problem:
            logger.info("the history of view %s goes on", self.feed.view)
            self.state.problem = ""


def _incarnation(app: str, feed: Feed) -> int:
    """Return the incarnation of a view's history: the same for every run, another for every generation."""
    digest = hashlib.sha256(f"history\n{app}\n{feed[0]}\n{feed[1]}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _next(chunks: Generator[HistoryChunk]) -> HistoryChunk | None:
    return next(chunks, None)


def _pairs(reply: Any) -> list[tuple[Any, Any]]:
    return list(zip(reply[::2], reply[1::2], strict=True))
