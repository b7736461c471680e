"""One view's part of a refresh: its query prepared and counted, then its rows written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forebay.errors import InvalidRequest, NotFound, NotUsable

from feature_store.schema import FeatureView, feature_view
from jobs.executors import Executors, PartWriter
from jobs.generation_keys import digest, packed
from jobs.generations import remove_from
from jobs.headroom import check_headroom
from jobs.in_thread import in_thread
from jobs.load import CHUNK_ROWS, GenerationChunk, Place, Report, Written, load_generation, upsert
from jobs.measures import Measures
from jobs.progress import Progress
from jobs.sources import Sources
from jobs.view_query import RowCounts, ViewQuery
from jobs.view_rows import EncodedRows, RowMaker
from registry import definitions
from registry.batch import Batch, Figures
from registry.batch_checks import BatchChecks
from registry.plan import Plan

_SAMPLE_ROWS = 1_000
"""By which the room that rows need is judged, where others write them."""
_ENTRY_BYTES = 80
"""What the server keeps beside a key and a value: 64 bytes as measured, the rest for its table to grow."""


@dataclass(frozen=True, slots=True)
class ViewOutcome:
    """What a refresh did to one view. `event_times_us`: the oldest and the newest; empty without rows."""

    view: str
    publish: str
    generation: int
    counts: RowCounts
    written: Written
    event_times_us: list[int]

    def checks(self) -> dict[str, str]:
        """Return what the batch's record says of the view."""
        counts, written = self.counts, self.written
        resumed = f", {written.resumed:,} of them by an earlier run" if written.resumed else ""
        return {
            f"{self.view}.rows": f"{counts.returned:,} returned, {counts.keyless:,} without a key, "
            f"{counts.repeated:,} replaced by a newer row of their key",
            f"{self.view}.written": f"{written.applied:,} applied{resumed}, {written.older:,} older than "
            f"stored, {written.invalid:,} invalid",
        }


@dataclass(frozen=True, slots=True)
class ViewLoad:
    """A view that is about to be refreshed, what its query will return, and what is checked of it.

    `started_us` is the event time of rows that carry none; `since_us` that from which on rows are read, where
    not all are.
    """

    query: ViewQuery
    counts: RowCounts
    measures: Measures
    checks: BatchChecks
    definition: str
    since_us: int | None
    batch: Batch
    started_us: int
    progress: Progress

    @property
    def view(self) -> FeatureView:
        """Return the view."""
        return self.query.view

    @property
    def generation(self) -> int:
        """Return the generation that the rows are written to."""
        return self.batch.generations[self.view.name]

    def figures(self, event_times_us: Sequence[int]) -> Figures:
        """Return what later refreshes are compared with."""
        return Figures(
            rows=self.counts.loadable,
            keyless=self.counts.keyless,
            repeated=self.counts.repeated,
            nulls=dict(self.measures.nulls),
            definition=self.definition,
            since_us=self.since_us,
            newest_event_time_us=max(event_times_us, default=None),
        )

    def measure(self) -> None:
        """Count the values without writing any, as rows need that are live once written. Blocking."""
        if self.query.executors is not None:
            counted = self.query.executors.run(
                self.query.loadable(self.counts),
                self._part_writer(self.query.executors, "", "count"),
                place=self.query.place,
            )
            self.measures.merge(counted.measures)
            return
        maker = self._maker()
        for batch in self._batches():
            self.measures.add(maker.columns(batch), batch.num_rows)

    async def run(self, place: Place) -> ViewOutcome:
        """Write the rows, in place or as a new generation, counting its values on the way. Returns when all
        are stored.

        A generation that an earlier run has begun is gone on with: chunks of the same keys stay as they are,
        from the first that differs on everything is written anew.
        Raises: Refused where the store has no room for the generation.
        """
        maker = self._maker()

        def report(written: int) -> None:
            self.progress(f"view {self.view.name}", "load", written, self.counts.loadable)

        report(0)
        if self.query.executors is not None:
            return await self._spread(place, self.query.executors, report)
        if self.view.publish == "swap":
            noted = (await place.keys.digests(self.generation))[:-1]  # the last may not be whole
            building = _Building(place, self)
            chunks = self._chunks(maker, noted)
            written = await load_generation(place, self.generation, chunks, building.admit, report)
            await building.finish()
        else:
            rows = (maker.encode(maker.read(batch)) for batch in self._batches())
            written = await upsert(place.store, rows, report)
        view, times_us = self.view, maker.event_times_us
        return ViewOutcome(view.name, view.publish, self.generation, self.counts, written, times_us)

    async def _spread(self, place: Place, executors: Executors, report: Report) -> ViewOutcome:
        """Have the rows written where they are computed. Nothing of an earlier run is gone on with: the rows
        come in another order each time."""
        view, query = self.view, self.query
        rows = query.loadable(self.counts)
        if view.publish == "swap":
            sample = await in_thread(executors.sample, rows, _SAMPLE_ROWS, place=query.place)
            maker = self._maker()
            for batch in sample.combine_chunks().to_batches()[:1]:
                bytes_per_row = _bytes_per_row(maker.encode(maker.read(batch)))
                needed_bytes = round(self.counts.loadable * bytes_per_row)
                await check_headroom(place.connection, needed_bytes, f"the rows of view {view.name}")
        kind: Literal["generation", "in place"] = "generation" if view.publish == "swap" else "in place"
        writer = self._part_writer(executors, place.keys.app, kind)
        done = await in_thread(executors.run, rows, writer, place=query.place)
        self.measures.merge(done.measures)
        report(done.written.total)
        return ViewOutcome(
            view.name, view.publish, self.generation, self.counts, done.written, done.event_times_us
        )

    def _part_writer(
        self, executors: Executors, app: str, kind: Literal["generation", "in place", "count"]
    ) -> PartWriter:
        return PartWriter(
            address=executors.address,
            app=app,
            view=self.view,
            generation=self.generation,
            number=self.batch.number,
            event_time=self.query.event_time,
            started_us=self.started_us,
            kind=kind,
            ranged=tuple(self.measures.ranged),
        )

    def _chunks(self, maker: RowMaker, noted: Sequence[bytes]) -> Iterator[GenerationChunk]:
        is_same = True
        for position, batch in enumerate(self._batches()):
            read = maker.read(batch)
            self.measures.add(read.columns, batch.num_rows)
            texts = packed(read.texts)
            is_same = is_same and position < len(noted) and noted[position] == digest(texts)
            yield GenerationChunk(batch.num_rows, texts, None if is_same else maker.encode(read))

    def _maker(self) -> RowMaker:
        return RowMaker(self.view, self.generation, self.batch.number, self.query.event_time, self.started_us)

    def _batches(self) -> Iterator[Any]:
        return (batch for batch in self.query.batches(self.counts, CHUNK_ROWS) if batch.num_rows)


@dataclass(slots=True)
class _Building:
    """A generation as it grows: what an earlier run left of it, and whether there is room for the rest."""

    place: Place
    load: ViewLoad
    kept_chunks: int = 0
    kept_rows: int = 0
    is_writing: bool = False

    async def admit(self, chunk: GenerationChunk) -> None:
        """Take note of a chunk; before the first that is written, remove what lies where it goes.

        Raises: Refused where the store has no room for it and what follows.
        """
        if self.is_writing:
            return
        if chunk.encoded is None:
            self.kept_chunks, self.kept_rows = self.kept_chunks + 1, self.kept_rows + chunk.count
            return
        self.is_writing = True
        await self._cut()
        left = max(chunk.count, self.load.counts.loadable - self.kept_rows)
        needed_bytes = round(left * _bytes_per_row(chunk.encoded))
        await check_headroom(self.place.connection, needed_bytes, f"the rows of view {self.load.view.name}")

    async def finish(self) -> None:
        """Remove what an earlier run left after the last row, where all before it is the same."""
        if not self.is_writing:
            await self._cut()

    async def _cut(self) -> None:
        place, load = self.place, self.load
        await remove_from(place.store, place.keys, load.view, load.generation, self.kept_chunks)


def _bytes_per_row(rows: EncodedRows) -> float:
    """Return what a stored row takes of the server's memory, its key included."""
    sizes = sum(map(len, rows.rows)) + sum(map(len, rows.keys))
    return sizes / len(rows.rows) + _ENTRY_BYTES


def batch_views(plan: Plan) -> list[str]:
    """Return the views that a refresh can load: those with a batch source."""
    return [name for name, view in plan.application.views.items() if view.batch is not None]


def batch_of(plan: Plan, name: str) -> definitions.Batch:
    """Return a view's batch source. Raises: NotFound; InvalidRequest where it has none."""
    definition = plan.application.views.get(name)
    known = ", ".join(batch_views(plan)) or "none"
    if definition is None:
        raise NotFound(f"{plan.app} has no view {name}; refreshable are: {known}")
    if definition.batch is None:
        raise InvalidRequest(f"view {name} has no batch source to refresh from; refreshable are: {known}")
    return definition.batch


def prepared(plan: Plan, names: Sequence[str], sources: Sources) -> list[ViewQuery]:
    """Return the views' queries, checked against their columns.

    Raises: with what is wrong in all of them: InvalidRequest where SQL is, else NotUsable.
    """
    queries: list[ViewQuery] = []
    problems: list[InvalidRequest | NotUsable] = []
    for name in names:
        try:
            queries.append(ViewQuery(sources, feature_view(plan, name), batch_of(plan, name)))
        except (InvalidRequest, NotUsable) as error:
            problems.append(error)
    if problems:
        kind = (
            InvalidRequest if any(isinstance(problem, InvalidRequest) for problem in problems) else NotUsable
        )
        raise kind("\n".join(dict.fromkeys(problem.message for problem in problems)))
    return queries
