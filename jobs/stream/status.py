"""How streams are: how far each partition is behind, what was lost or refused, how fresh the views are. All
of it is read from the store and the sources, whether a worker runs or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.errors import Error, NotFound

from jobs.stream.backfill import Backfills
from jobs.stream.checkpoints import COUNTS, Checkpoint, Checkpoints
from jobs.stream.dead_letters import DeadLetters
from jobs.stream.event_sources import open_source, partition_count
from jobs.stream.partitions import PartitionKeys, described
from jobs.stream.source import BEGINNING, Extent, LastRead, lag_of
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release
from registry.watermarks import ViewGeneration, ViewWatermarks, Watermarks
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection
from runtime.stream_settings import StreamSettings


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition. `lag_events` None: the source can't be asked. `behind_s`: how long ago the source took
    in what was applied last, where more has come since; `complete_until_us`: the lowest of its views'
    watermarks."""

    partition: int
    held_events: int | None
    lag_events: int | None
    behind_s: float | None
    complete_until_us: int | None
    dead_letters: int
    worker: str
    noted_at_us: int
    counts: Mapping[str, int]
    problem: str


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """One view that a stream feeds. `complete_until_us` None: not all partitions have been read yet, so that
    it reads STALE. `history`: "" where the stream has none, else waiting, under way or done."""

    view: str
    complete_until_us: int | None
    age_s: float | None
    history: str
    history_events: int


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One declared stream."""

    stream: str
    source: str
    partitions: tuple[PartitionStatus, ...] = ()
    views: tuple[ViewStatus, ...] = ()
    problem: str = ""

    @property
    def lag_events(self) -> int:
        return sum(one.lag_events or 0 for one in self.partitions)

    @property
    def dead_letters(self) -> int:
        return sum(one.dead_letters for one in self.partitions)

    def count(self, name: str) -> int:
        """Return how many events became what checkpoints.COUNTS names, in all partitions."""
        return sum(one.counts.get(name, 0) for one in self.partitions)

    def as_json(self) -> dict[str, Any]:
        """Return the status for programs."""
        return {
            "stream": self.stream,
            "source": self.source,
            "problem": self.problem,
            "lag_events": self.lag_events,
            "dead_letters": self.dead_letters,
            "partitions": [_partition_json(one) for one in self.partitions],
            "views": [
                {
                    "view": one.view,
                    "complete_until_us": one.complete_until_us,
                    "age_s": one.age_s,
                    "history": one.history,
                    "history_events": one.history_events,
                }
                for one in self.views
            ],
        }


def _partition_json(one: PartitionStatus) -> dict[str, Any]:
    return {
        "partition": one.partition,
        "held_events": one.held_events,
        "lag_events": one.lag_events,
        "behind_s": one.behind_s,
        "complete_until_us": one.complete_until_us,
        "dead_letters": one.dead_letters,
        "worker": one.worker,
        "noted_at_us": one.noted_at_us,
        **{name: one.counts.get(name, 0) for name in COUNTS},
        "problem": one.problem,
    }


@dataclass(frozen=True, slots=True)
class StreamInspection:
    """Looks at an application's streams. Raises: what the store does."""

    connection: RedisConnection
    registry: Registry
    settings: StreamSettings
    clock: Clock
    _marks: dict[ViewGeneration, ViewWatermarks] = field(default_factory=dict, repr=False)

    async def statuses(self, name: str = "") -> list[StreamStatus]:
        """Return the status of every declared stream, or of one. Raises: NotFound."""
        live = await self.registry.live()
        if live is None:
            return []
        plan = await self.registry.plan(live.plan)
        check_stream(plan, name)
        self._marks.update(await Watermarks(self.connection, plan.app).read())
        names = [name] if name else list(plan.application.streams)
        return [await self._status(plan, live, one) for one in names]

    async def _status(self, plan: Plan, live: Release, name: str) -> StreamStatus:
        stream = plan.application.streams[name]
        views = [await self._view(plan, live, view) for view in _fed(plan, live, name)]
        try:
            count = await partition_count(stream, self.settings)
        except Error as error:
            return StreamStatus(name, described(stream), (), tuple(views), error.message)
        partitions = [await self._partition(plan, live, name, number) for number in range(count)]
        return StreamStatus(name, described(stream), tuple(partitions), tuple(views))

    async def _view(self, plan: Plan, live: Release, view: str) -> ViewStatus:
        rows = ViewGeneration(plan.ids.views[view], live.views[view].generation)
        lowest_us = self._marks.get(rows, ViewWatermarks()).lowest_us
        age_s = None if lowest_us is None else (self.clock.now_us() - lowest_us) / 1e6
        stream = plan.application.streams[plan.application.views[view].stream or ""]
        if stream.history is None:
            return ViewStatus(view, lowest_us, age_s, "", 0)
        record = await Backfills(self.connection, plan.app).read(rows)
        state = "waiting" if record is None else "done" if record.is_done else "under way"
        return ViewStatus(view, lowest_us, age_s, state, 0 if record is None else record.position)

    async def _partition(self, plan: Plan, live: Release, name: str, number: int) -> PartitionStatus:
        keys = PartitionKeys(plan.app, name, number)
        stored = await Checkpoints(self.connection, keys).read()
        checkpoint = stored or Checkpoint(LastRead(""))
        extent, problem = await self._extent(plan, name, number)
        lag = None if extent is None else lag_of(extent, checkpoint.last)
        marks = [
            self._marks[rows].marks.get(number)
            for view in _fed(plan, live, name)
            if (rows := ViewGeneration(plan.ids.views[view], live.views[view].generation)) in self._marks
        ]
        times = [mark.event_time_us for mark in marks if mark is not None]
        return PartitionStatus(
            partition=number,
            held_events=None if extent is None else extent.held,
            lag_events=lag,
            behind_s=self._behind_s(lag, checkpoint),
            complete_until_us=min(times, default=None),
            dead_letters=await DeadLetters(self.connection, keys).count(),
            worker=(await self.connection.execute("GET", keys.lease) or b"").decode(),
            noted_at_us=checkpoint.at_us,
            counts=checkpoint.counts,
            problem=checkpoint.problem or problem,
        )

    async def _extent(self, plan: Plan, name: str, number: int) -> tuple[Extent | None, str]:
        try:
            source = await open_source(
                plan.application.streams[name],
                plan.app,
                number,
                self.connection,
                self.connection,
                self.settings,
            )
            extent = await source.extent()
            if plan.application.streams[name].kafka is not None:
                await source.aclose()
        except Error as error:
            return None, error.message
        return extent, ""

    def _behind_s(self, lag: int | None, checkpoint: Checkpoint) -> float | None:
        if lag is None:
            return None
        if not lag or checkpoint.last.position == BEGINNING or not checkpoint.last.published_ms:
            return 0.0 if not lag else None
        return max(0.0, self.clock.now_us() / 1e6 - checkpoint.last.published_ms / 1e3)


def check_stream(plan: Plan, name: str) -> None:
    """Raises: NotFound for a stream that the application doesn't declare."""
    if name and name not in plan.application.streams:
        known = ", ".join(plan.application.streams) or "none"
        raise NotFound(f"{plan.app} has no stream {name!r}; its streams: {known}")


def _fed(plan: Plan, live: Release, stream: str) -> list[str]:
    views = plan.application.views
    return [name for name, view in views.items() if view.stream == stream and name in live.views]
