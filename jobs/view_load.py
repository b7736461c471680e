"""One view's part of a refresh: its query prepared and counted, then its rows written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forebay.errors import InvalidRequest, NotFound, NotUsable

from feature_store.schema import FeatureView, feature_view
from feature_store.store import OnlineStore
from jobs.generation_keys import GenerationKeys
from jobs.in_thread import in_thread
from jobs.load import CHUNK_ROWS, Written, load_generation, upsert
from jobs.progress import Progress
from jobs.sources import Sources
from jobs.view_query import RowCounts, ViewQuery
from jobs.view_rows import EncodedRows, RowMaker
from registry import definitions
from registry.batch import Batch
from registry.plan import Plan


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
        return {
            f"{self.view}.rows": f"{counts.returned:,} returned, {counts.keyless:,} without a key, "
            f"{counts.repeated:,} replaced by a newer row of their key",
            f"{self.view}.written": f"{written.applied:,} applied, {written.older:,} older than stored, "
            f"{written.invalid:,} invalid",
        }


@dataclass(frozen=True, slots=True)
class ViewLoad:
    """A view that is about to be refreshed, and what its query will return."""

    view: FeatureView
    query: ViewQuery
    counts: RowCounts

    async def run(
        self, store: OnlineStore, keys: GenerationKeys, batch: Batch, started_us: int, progress: Progress
    ) -> ViewOutcome:
        """Write the rows, in place or as a new generation. Returns when all are stored."""
        generation = batch.generations[self.view.name]
        maker = RowMaker(self.view, generation, batch.number, self.query.event_time, started_us)

        def report(written: int) -> None:
            progress(f"view {self.view.name}", "load", written, self.counts.loadable)

        report(0)
        chunks = self._chunks(maker)
        if self.view.publish == "swap":
            written = await load_generation(store, keys, generation, chunks, report)
        else:
            written = await upsert(store, chunks, report)
        return ViewOutcome(
            self.view.name, self.view.publish, generation, self.counts, written, maker.event_times_us
        )

    def _chunks(self, maker: RowMaker) -> Iterator[EncodedRows]:
        for batch in self.query.batches(self.counts, CHUNK_ROWS):
            if batch.num_rows:
                yield maker.encode(batch)


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


async def counted(query: ViewQuery) -> ViewLoad:
    """Return the view's load, once its query has been run for its counts. Cost: one pass over the keys."""
    return ViewLoad(query.view, query, await in_thread(query.count))
