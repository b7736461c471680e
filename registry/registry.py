"""What is live: numbered plans and releases behind one pointer that moves by compare-and-set, and the batches
that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from forebay.deadline import NEVER, Deadline
from forebay.errors import Conflict, Corrupt, InvalidRequest, NotFound, NotUsable

from registry.batch import Batch, BatchRecord, Held
from registry.definitions import Application
from registry.evolution import evolution_problems, next_ids
from registry.ledger import KEPT_BATCHES, KEPT_RELEASES, Ledger
from registry.plan import NO_IDS, Plan
from registry.release import FallbackRelease, Release
from registry.watermarks import ViewGeneration, Watermarks
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection

_ATTEMPTS = 50
"""How often a change is made again on a newer base before it is given up."""


class Registry:
    """The plans, releases and batches of one application.

    Raises, everywhere: Unavailable where Redis is; Corrupt where a record can't be read, naming its key.
    Cost: a few round trips each; nothing here belongs on the path of a request.
    """

    def __init__(self, connection: RedisConnection, app: str, clock: Clock) -> None:
        self.app = app
        self._clock = clock
        self._ledger = Ledger(connection, app)
        self.watermarks = Watermarks(connection, app)
        """How far streams have come."""

    async def live_number(self) -> int:
        """Return the number of the live release; 0 where nothing was applied. Cost: one round trip."""
        return await self._ledger.live_number()

    async def live(self) -> Release | None:
        """Return the live release; None where nothing was applied."""
        number = await self._ledger.live_number()
        if number == 0:
            return None
        release = await self._ledger.release(number)
        if release is None:
            raise Corrupt(f"release {number} of {self.app} is live, but its record is gone")
        return release

    async def release(self, number: int) -> Release:
        """Return a release by its number. Raises: NotFound; the oldest are dropped."""
        release = await self._ledger.release(number)
        if release is None:
            raise NotFound(f"{self.app} has no release {number}; the last {KEPT_RELEASES} are kept")
        return release

    async def releases(self, limit: int = 20) -> list[Release]:
        """Return the newest releases, newest first."""
        newest = await self._ledger.live_number()
        numbers = range(newest, max(0, newest - min(limit, KEPT_RELEASES)), -1)
        return [release for release in await self._ledger.releases(numbers) if release is not None]

    async def plan(self, number: int) -> Plan:
        """Return a plan by its number. Raises: NotFound."""
        plan = await self._ledger.plan(number)
        if plan is None:
            raise NotFound(f"{self.app} has no plan {number}")
        return plan

    async def live_plan(self) -> Plan | None:
        """Return the live release's plan; None where nothing was applied."""
        release = await self.live()
        return None if release is None else await self._plan_of(release)

    async def newest_plan(self) -> Plan | None:
        """Return the plan with the highest number, which knows every id and layout there was; it may not be
        the live one, after a rollback. None where nothing was applied.
        """
        number = await self._ledger.newest_plan_number()
        return None if number == 0 else await self._kept_plan(number)

    async def _plan_of(self, release: Release) -> Plan:
        return await self._kept_plan(release.plan)

    async def _kept_plan(self, number: int) -> Plan:
        plan = await self._ledger.plan(number)
        if plan is None:
            raise Corrupt(f"plan {number} of {self.app} is referred to, but its record is gone")
        return plan

    async def apply(
        self,
        application: Application,
        root: Path | str,
        *,
        models: Mapping[str, str] | None = None,
        fallbacks: Mapping[str, FallbackRelease] | None = None,
        set_traffic: bool = False,
        who: str = "",
        why: str = "",
    ) -> tuple[Plan, Release]:
        """Make the application live, as a new plan and release; return both.

        What is live already stays as it is: no new plan where the application and its `root` are the same, no
        new release where nothing changes. `models` are champion versions; they are used for models that have
        no live version, or for all with `set_traffic`; the file's own `traffic` stands in for what they lack.
        A model without either has no live version afterwards. `fallbacks` are the candidates that pipelines
        fall back on; one without keeps what it has. Views written in place get their generation.

        Raises: InvalidRequest for an application of another name; NotUsable, with every reason, if rows
        written under earlier plans couldn't survive it; Conflict, if others keep changing what is live.
        """
        if application.app != self.app:
            raise InvalidRequest(
                f"the file is of application {application.app!r}, not {self.app!r}", field="app"
            )
        for _ in range(_ATTEMPTS):
            live = await self.live()
            live_plan = None if live is None else await self._plan_of(live)
            newest = await self.newest_plan()
            plan = live_plan
            if plan is None or plan.application != application or plan.root != str(root):
                plan = await self._next_plan(newest, application, str(root))
            base = Release(0, self.app, plan.number) if live is None else live
            draft = await self._with_views(base.with_plan(plan), live_plan, plan)
            draft = _with_models(draft, application, models or {}, set_traffic)
            draft = draft.with_fallbacks(fallbacks or {})
            if live is not None and draft.says_the_same(live):
                return plan, live
            release = self._numbered(draft, base, who, why)
            if await self._ledger.commit(release, None if plan is live_plan else plan):
                return plan, release
        raise self._lost()

    async def _next_plan(self, newest: Plan | None, application: Application, root: str) -> Plan:
        history = NO_IDS if newest is None else newest.ids
        problems = evolution_problems(history, application)
        if problems:
            raise NotUsable("; ".join(str(problem) for problem in problems), field=problems[0].path)
        entities = await self._ledger.allocate_ids("entity", list(application.entities))
        views = await self._ledger.allocate_ids("view", list(application.views))
        number = 1 if newest is None else newest.number + 1
        return Plan(number, self.app, application, root, next_ids(history, application, entities, views))

    async def _with_views(self, draft: Release, live_plan: Plan | None, plan: Plan) -> Release:
        """Give a generation to each view that is written in place and has none, or none that it can use:
        rows of a stream's tiles are of no use with other tiles, or of another stream, or where no tiles are.
        """
        for name, entry in draft.views.items():
            if live_plan is not None and live_plan.tiles(name) != plan.tiles(name):
                draft = draft.without_view(name)
                await self._forget_watermarks(ViewGeneration(plan.ids.views[name], entry.generation))
        names = [
            name
            for name, view in plan.application.views.items()
            if view.publish == "upsert" and name not in draft.views
        ]
        if names:
            _, generations = await self._ledger.begin_batch(names)
            for name, generation in zip(names, generations, strict=True):
                draft = draft.with_view(name, generation)
                if plan.tiles(name) is not None:  # Deletions must find it after another has taken its place.
                    await self._ledger.begin_generations({plan.ids.views[name]: generation})
        return draft

    async def _forget_watermarks(self, kept: ViewGeneration) -> None:
        """Remove the watermarks of a view's other rows: servers read them all, once a second."""
        with suppress(Corrupt):  # Servers complain of it; here it is only in the way.
            for rows in await self.watermarks.read():
                if rows.view_id == kept.view_id and rows != kept:
                    await self.watermarks.forget(rows)

    async def publish(
        self,
        change: Callable[[Release], Release],
        *,
        who: str = "",
        why: str = "",
        held: Held | None = None,
    ) -> Release:
        """Make live what `change` returns for the live release; return the new release.

        `change` may be called several times, with a newer release each time; what it raises passes through.
        Where it changes nothing, the live release is returned. Nothing is published of a batch `held` that
        is somebody else's by then.

        Raises: NotUsable, if nothing was applied or the draft names what its plan doesn't know; Conflict, if
        others keep publishing, or `held` isn't held.
        """
        for _ in range(_ATTEMPTS):
            live = await self._required_live()
            draft = change(live)
            if draft.says_the_same(live):
                return live
            await self._check_known(draft)
            release = self._numbered(draft, live, who, why)
            if await self._ledger.commit(release, None, held):
                return release
        raise self._lost()

    async def renew(self, view: str, *, who: str = "", why: str = "") -> Release:
        """Make a new generation of a view that is written in place live, which has no rows yet; return the
        release. Raises: as `publish`.
        """
        _, [generation] = await self._ledger.begin_batch([view])
        return await self.publish(lambda live: live.with_view(view, generation), who=who, why=why)

    async def _required_live(self) -> Release:
        live = await self.live()
        if live is None:
            raise NotUsable(f"no application {self.app} is applied: run `forebay apply FILE` first")
        return live

    async def _check_known(self, draft: Release) -> None:
        strangers = draft.strangers(await self.plan(draft.plan))
        if strangers:
            raise NotUsable(f"plan {draft.plan} of {self.app} doesn't have {', '.join(strangers)}")

    def _numbered(self, draft: Release, base: Release, who: str, why: str) -> Release:
        return draft.numbered(base.number + 1, at_us=self._clock.now_us(), who=who, why=why)

    def _lost(self) -> Conflict:
        return Conflict(f"others keep changing what is live in {self.app}: try again")

    async def begin_batch(self, *views: str) -> Batch:
        """Return a new batch that will write the views; a swapped view gets a new generation for it.

        Raises: NotUsable, if nothing was applied; NotFound for a view that the live plan doesn't have.
        """
        live = await self._required_live()
        known = (await self._plan_of(live)).application.views
        for view in views:
            if view not in known:
                raise NotFound(f"{self.app} has no view {view!r}; its views: {', '.join(known) or 'none'}")
        swapped = [view for view in views if known[view].publish == "swap" or view not in live.views]
        number, generations = await self._ledger.begin_batch(swapped)
        new = dict(zip(swapped, generations, strict=True))
        return Batch(
            id=f"b{number}",
            number=number,
            generations={view: new[view] if view in new else live.views[view].generation for view in views},
        )

    async def finish_batch(self, record: BatchRecord) -> None:
        """Store a batch's record, in place of an earlier one of the same batch. The newest 1000 are kept."""
        await self._ledger.record_batch(record)

    async def hold_batch(self, batch: str, expected: str, holder: str, for_s: float = 0) -> bool:
        """Make `holder` the one who runs the batch for `for_s`; return False if it isn't `expected` before.

        "" as `expected` stands for nobody, and as `holder` lets go of it.
        """
        return await self._ledger.hold_batch(batch, expected, holder, round(for_s * 1000))

    async def batch_holder(self, batch: str) -> str:
        """Return who runs the batch; "" for nobody."""
        return await self._ledger.holder(batch)

    async def batches(self, limit: int = 20) -> list[BatchRecord]:
        """Return the newest batches' records, newest first."""
        return await self._ledger.batches(max(1, min(limit, KEPT_BATCHES)))

    async def batch_records(self, ids: Sequence[str]) -> dict[str, BatchRecord]:
        """Return the records of these batches by id; those that are no longer kept are left out."""
        return {record.id: record for record in await self._ledger.batch_records(ids)}

    async def stored_generations(
        self, view_ids: Sequence[int], deadline: Deadline = NEVER
    ) -> list[list[int]]:
        """Return, for each view by its id, the generations that may have rows: the live one, those before it
        that aren't swept yet, and one that is being written. Ascending. Of views written in place none, of
        views over a stream all that there were.

        Raises: DeadlineExceeded too. Cost: one round trip.
        """
        return await self._ledger.stored_generations(view_ids, deadline)

    async def begin_generations(self, generations: Mapping[int, int]) -> None:
        """Note, before the source is read, that these generations of views, by view id, are being written:
        who deletes an entity from now on tells them of it."""
        await self._ledger.begin_generations(generations)

    async def note_deleted(
        self, view_id: int, generations: Sequence[int], texts: Sequence[str], deadline: Deadline = NEVER
    ) -> None:
        """Note that entities are deleted while these generations of a view are being written: whoever writes
        them removes their rows before publishing. Raises: DeadlineExceeded too. Cost: one round trip."""
        if generations and texts:
            await self._ledger.note_deleted(view_id, generations, texts, deadline)

    async def deleted(self, view_id: int, generation: int) -> list[str]:
        """Return the key texts of the entities that were deleted while the generation was being written."""
        return await self._ledger.deleted(view_id, generation)

    async def next_index_version(self, index: str) -> str:
        """Return a version, a whole number in decimal, above every earlier one of this index."""
        return str(await self._ledger.next_index_version(index))

    async def next_precomputed_version(self, pipeline: str) -> int:
        """Return a version above every earlier one of what is precomputed for this pipeline."""
        return await self._ledger.next_precomputed_version(pipeline)


def _with_models(
    draft: Release, application: Application, models: Mapping[str, str], set_traffic: bool
) -> Release:
    for name, model in application.models.items():
        declared = model.traffic.get("champion")
        champion = models.get(name) or (None if declared is None else str(declared))
        if champion is not None and (set_traffic or name not in draft.models):
            draft = draft.with_model(name, champion)
    return draft
