"""The checks of a refresh, in their order: what can be known before a row is written, then the values. Each
is noted in the batch's record; what is broken refuses the refresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.batch_log import BatchLog
from jobs.fingerprint import definition_of
from jobs.generation_keys import GenerationKeys
from jobs.in_thread import in_thread
from jobs.measures import Measures
from jobs.progress import Progress
from jobs.refresh_checks import Finding, RowFacts, check_rows, check_values, refuse_broken
from jobs.refresh_options import RefreshOptions
from jobs.since import LAST, check_incremental, covered_until_us, since_us
from jobs.sources import Sources
from jobs.view_load import ViewLoad, batch_of, prepared
from jobs.view_query import ViewQuery
from registry.batch import Batch
from registry.plan import Plan
from registry.registry import Registry
from runtime.redis_connection import RedisConnection

_HISTORY = 200
"""Batches looked back on for what they have read."""


@dataclass(slots=True)
class ViewChecks:
    """Checks one refresh. `alarms` are the sentences of what is published, but ought to be looked at."""

    registry: Registry
    connection: RedisConnection
    log: BatchLog
    progress: Progress
    alarms: list[str] = field(default_factory=list)

    async def admitted(
        self,
        plan: Plan,
        names: Sequence[str],
        sources: Sources,
        options: RefreshOptions,
        batch: Batch,
        started_us: int,
    ) -> list[ViewLoad]:
        """Return what may be loaded: the queries fit their views, and no check of their rows is broken.

        The values of rows that are written in place are checked here too, since they are live at once.
        Raises: InvalidRequest, NotUsable, Refused, each telling of all views.
        """
        queries = {query.view.name: query for query in await in_thread(prepared, plan, names, sources)}
        starts = await self._starts(plan, queries, options)
        findings: list[Finding] = []
        loads: list[ViewLoad] = []
        for name, query in queries.items():
            self.progress(f"view {name}", "count", 0, 0)
            counts = await in_thread(query.count)
            checks = batch_of(plan, name).checks
            load = ViewLoad(
                query=query,
                counts=counts,
                measures=Measures(frozenset(checks.ranges)),
                checks=checks,
                definition=definition_of(plan, name, query.view.schema.schema_id),
                since_us=starts.get(name),
                batch=batch,
                started_us=started_us,
                progress=self.progress,
            )
            findings += await self._of_rows(plan, load, options)
            findings += await self._of_values_in_place(load, options)
            loads.append(load)
        self._conclude(findings)
        return loads

    def check_values(self, loads: Sequence[ViewLoad], options: RefreshOptions) -> None:
        """Check the values of the generations that were written. Raises: Refused."""
        self._conclude(
            [
                finding
                for load in loads
                if load.view.publish == "swap"
                for finding in _value_findings(load, options)
            ]
        )

    async def _starts(
        self, plan: Plan, queries: dict[str, ViewQuery], options: RefreshOptions
    ) -> dict[str, int]:
        """Restrict the queries to what is new; return from which event time on each reads."""
        if not options.since:
            return {}
        check_incremental(plan, list(queries), queries)
        records = await self.registry.batches(_HISTORY) if options.since == LAST else []
        starts: dict[str, int] = {}
        for name, query in queries.items():
            definition = definition_of(plan, name, query.view.schema.schema_id)
            start = (
                covered_until_us(records, name, definition)
                if options.since == LAST
                else since_us(options.since)
            )
            if start is not None:
                query.read_since(start)
                starts[name] = start
        return starts

    async def _of_rows(self, plan: Plan, load: ViewLoad, options: RefreshOptions) -> list[Finding]:
        name = load.view.name
        live_rows = await self._live_rows(plan, load) if load.view.publish == "swap" else None
        facts = RowFacts(name, load.counts, live_rows, is_part=load.since_us is not None)
        return check_rows(facts, load.checks, options.accepts(name))

    async def _of_values_in_place(self, load: ViewLoad, options: RefreshOptions) -> list[Finding]:
        checks = load.checks
        if load.view.publish == "swap" or not (checks.nulls or checks.ranges) or not load.counts.loadable:
            return []
        self.progress(f"view {load.view.name}", "check", 0, 0)
        await in_thread(load.measure)
        return _value_findings(load, options)

    async def _live_rows(self, plan: Plan, load: ViewLoad) -> int | None:
        live = await self.registry.live()
        entry = live.views.get(load.view.name) if live else None
        if entry is None:
            return None
        record = (await self.registry.batch_records([entry.batch])).get(entry.batch)
        figures = record.figures.get(load.view.name) if record else None
        if figures is not None:
            return figures.rows
        return await GenerationKeys(self.connection, plan.app, load.view.view_id).count(entry.generation)

    def _conclude(self, findings: Sequence[Finding]) -> None:
        self.log.note_checks({item.name: f"{item.outcome}: {item.says}" for item in findings})
        self.alarms += [f"{item.name}: {item.says}" for item in findings if item.outcome != "ok"]
        refuse_broken(findings)


def _value_findings(load: ViewLoad, options: RefreshOptions) -> list[Finding]:
    name = load.view.name
    return check_values(name, load.measures, load.checks, options.accepts(name))
