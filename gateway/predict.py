"""The life of a request, top to bottom: admit, recall, hydrate, retrieve, hydrate candidates, assemble,
predict, select. Each step works on a batch of requests for one pipeline. Transport-free;
`servicers/prediction.py` calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error

from feature_store.store import OnlineStore
from gateway.admit import PredictRequest, admit
from gateway.assemble import assemble
from gateway.batch import Answer, Batch, Member
from gateway.hydrate import hydrate, hydrate_candidates
from gateway.kept_answer import Recalled
from gateway.narrow import narrow
from gateway.precomputed import Precomputed
from gateway.retrieve import request_candidates, retrieve
from gateway.run_model import run_model
from gateway.select import select
from runtime.batcher import Batcher, BatchLimits
from runtime.clock import Clock
from runtime.offload import Offload


class Predictor:
    """Answers requests. One per process; the plan to run comes with each request."""

    def __init__(
        self,
        store: OnlineStore,
        offload: Offload,
        clock: Clock,
        limits: BatchLimits | None = None,
        precomputed: Precomputed | None = None,
    ) -> None:
        self._store = store
        self._offload = offload
        self._clock = clock
        self._limits = limits
        self._precomputed = precomputed or Precomputed(store, clock)
        self._batchers: dict[str, Batcher[Member, Answer]] = {}

    async def predict(self, request: PredictRequest) -> Answer | Recalled:
        """Return the answer to one request, made in one batch with the requests that came while it waited.

        Raises: InvalidRequest, NotUsable, Unavailable, Overloaded; DeadlineExceeded naming the step.
        Cost: two round trips to the store at the most, one search, one model run, shared by the batch.
        """
        member = self._admit(request)
        remembered = self._recall(member)
        if remembered is not None:
            return remembered
        found = await self._precomputed.first(member)
        if found is not None:
            return found
        try:
            return await self._batcher(member.pipeline.name).submit(
                member,
                key=member.pipeline.release,
                rows=member.row_count,
                deadline=member.deadline,
                criticality=member.criticality,
            )
        except DeadlineExceeded as error:
            if "stage" in error.metadata:
                raise
            last = member.stages[-1][0]
            raise DeadlineExceeded(f"{error.message}, after {last}", stage=last) from error

    async def run(self, members: Sequence[Member]) -> list[Answer | Error]:
        """Return each one's answer, or why it has none: requests for one pipeline, in one batch, now."""
        return await self._run(members)

    async def aclose(self) -> None:
        """Let the requests under way end; refuse new ones."""
        for batcher in self._batchers.values():
            await batcher.aclose()

    def _batcher(self, pipeline: str) -> Batcher[Member, Answer]:
        """Return the pipeline's batcher: a slow pipeline holds up no other, and its costs are its own."""
        found = self._batchers.get(pipeline)
        if found is None:
            found = self._batchers[pipeline] = Batcher(self._run, self._clock, self._limits)
        return found

    def _admit(self, request: PredictRequest) -> Member:
        """Check the request. Admission control takes its place here."""
        member = admit(request)
        self._stamp((member,), "admit", request.admitted_s, member.deadline.at_s - request.admitted_s)
        return member

    def _recall(self, member: Member) -> Answer | None:
        """Look for an answer that is known already. The prediction cache takes its place here."""
        now_s = self._clock.monotonic_s()
        self._stamp((member,), "recall", now_s, member.deadline.at_s - now_s)
        return None

    async def _run(self, members: Sequence[Member]) -> list[Answer | Error]:
        """Take a batch through the steps that its pipeline declares; a failure ends its own member."""
        pipeline = members[0].pipeline
        batch = Batch(pipeline, members, self._clock.now_us())
        if pipeline.hydrate:
            await self._step(batch, "hydrate", partial(hydrate, batch, self._store))
        if pipeline.retrieve is not None:
            await self._step(batch, "retrieve", partial(retrieve, batch, self._offload))
        elif pipeline.candidates is not None:
            request_candidates(batch)
        if pipeline.hydrate_candidates:
            await self._step(batch, "hydrate_candidates", partial(hydrate_candidates, batch, self._store))
        if pipeline.select.where:
            narrow(batch)
        await self._step(batch, "assemble", partial(assemble, batch))
        await self._step(batch, "predict", partial(run_model, batch, self._offload))
        await self._step(batch, "select", partial(select, batch))
        return batch.results()

    async def _step(self, batch: Batch, stage: str, work: Callable[[Deadline], Awaitable[None]]) -> None:
        """Run one step within what the members' deadlines and the pipeline's budget leave it."""
        start_s = self._clock.monotonic_s()
        given_s = batch.pipeline.budget.given_s(stage, batch.deadline_s, start_s)
        if given_s <= 0:
            batch.fail(DeadlineExceeded(f"the deadline passed before {stage}", stage=stage))
        if batch.failed:
            return
        try:
            await work(Deadline(start_s + given_s))
        except DeadlineExceeded:
            given = f"{given_s * 1000:.1f} ms"
            batch.fail(DeadlineExceeded(f"{stage} was not done in the {given} it was given", stage=stage))
        except Error as error:
            batch.fail(error)
        self._stamp(batch.members, stage, start_s, given_s)

    def _stamp(self, members: Sequence[Member], stage: str, start_s: float, given_s: float) -> None:
        """Note on every member when the step ran and what it was given."""
        timing = (stage, start_s, self._clock.monotonic_s() - start_s, given_s)
        for member in members:
            member.stages.append(timing)
