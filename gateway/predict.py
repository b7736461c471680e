"""The life of a request, top to bottom: admit, recall, hydrate, retrieve, hydrate candidates, assemble,
predict, select. Each step works on a batch of requests for one pipeline. Transport-free;
`servicers/prediction.py` calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error

from feature_store.store import OnlineStore
from gateway.admit import PredictRequest, admit
from gateway.assemble import assemble
from gateway.batch import Answer, Batch, Member
from gateway.hydrate import hydrate, hydrate_candidates
from gateway.retrieve import request_candidates, retrieve
from gateway.run_model import run_model
from gateway.select import select
from runtime.clock import Clock
from runtime.offload import Offload
from runtime.stages import StageTiming

STEPS = (
    "admit",
    "recall",
    "hydrate",
    "retrieve",
    "hydrate_candidates",
    "assemble",
    "predict",
    "select",
)


class Predictor:
    """Answers requests. One per process; the plan to run comes with each request."""

    def __init__(self, store: OnlineStore, offload: Offload, clock: Clock) -> None:
        self._store = store
        self._offload = offload
        self._clock = clock

    async def predict(self, request: PredictRequest) -> Answer:
        """Return the answer to one request.

        Raises: InvalidRequest, NotUsable, Unavailable; DeadlineExceeded naming the step that it passed in.
        Cost: two round trips to the store at the most, one search, one model run.
        """
        member = self._admit(request)
        remembered = self._recall(member)
        if remembered is not None:
            return remembered
        batch = Batch(request.pipeline, [member], self._clock.now_us())
        (answer,) = await self._run(batch)
        if answer is None:
            raise member.error or AssertionError("a member without an answer has an error")
        return answer

    def _admit(self, request: PredictRequest) -> Member:
        """Check the request and fix its deadline. Admission control takes its place here."""
        member = admit(request)
        self._stamp([member], "admit", request.admitted_s, member.deadline)
        return member

    def _recall(self, member: Member) -> Answer | None:
        """Look for an answer that is known already. The prediction cache takes its place here."""
        self._stamp([member], "recall", self._clock.monotonic_s(), member.deadline)
        return None

    async def _run(self, batch: Batch) -> list[Answer | None]:
        """Take a batch through the steps that its pipeline declares; a failure ends its own member."""
        pipeline = batch.pipeline
        if pipeline.hydrate:
            await self._step(batch, "hydrate", self._hydrate)
        if pipeline.retrieve is not None:
            await self._step(batch, "retrieve", self._retrieve)
        elif pipeline.candidates is not None:
            request_candidates(batch)
        if pipeline.hydrate_candidates:
            await self._step(batch, "hydrate_candidates", self._hydrate_candidates)
        await self._step(batch, "assemble", self._assemble)
        await self._step(batch, "predict", self._predict)
        return self._select(batch)

    async def _hydrate(self, batch: Batch, deadline: Deadline) -> None:
        await hydrate(batch, self._store, deadline)

    async def _retrieve(self, batch: Batch, deadline: Deadline) -> None:
        await retrieve(batch, self._offload, deadline)

    async def _hydrate_candidates(self, batch: Batch, deadline: Deadline) -> None:
        await hydrate_candidates(batch, self._store, deadline)

    async def _assemble(self, batch: Batch, deadline: Deadline) -> None:
        assemble(batch)

    async def _predict(self, batch: Batch, deadline: Deadline) -> None:
        await run_model(batch, self._offload, deadline)

    def _select(self, batch: Batch) -> list[Answer | None]:
        start_s = self._clock.monotonic_s()
        self._expire(batch, "select", start_s)
        answers = select(batch)
        self._stamp(batch.members, "select", start_s, batch.members[0].deadline)
        return answers

    async def _step(
        self, batch: Batch, stage: str, work: Callable[[Batch, Deadline], Awaitable[None]]
    ) -> None:
        """Run one step within what the members' deadlines and the pipeline's budget leave it."""
        start_s = self._clock.monotonic_s()
        self._expire(batch, stage, start_s)
        if not batch.live():
            return
        latest = max(member.deadline for member in batch.members)
        deadline = Deadline(start_s + batch.pipeline.budget.given_s(stage, latest, start_s))
        try:
            await work(batch, deadline)
        except DeadlineExceeded:
            given_ms = (deadline.at_s - start_s) * 1000
            batch.fail(
                DeadlineExceeded(f"{stage} was not done in the {given_ms:.1f} ms it was given", stage=stage)
            )
        except Error as error:
            batch.fail(error)
        self._stamp(batch.members, stage, start_s, deadline)

    def _expire(self, batch: Batch, stage: str, now_s: float) -> None:
        """Fail the members whose deadline passes before the step can start."""
        for member in batch.members:
            if member.error is None and member.deadline.expired(now_s):
                member.error = DeadlineExceeded(f"the deadline passed before {stage}", stage=stage)

    def _stamp(self, members: Sequence[Member], stage: str, start_s: float, deadline: Deadline) -> None:
        """Note on every member when the step ran and what it was given."""
        duration_us = round((self._clock.monotonic_s() - start_s) * 1e6)
        given_us = max(0, round((deadline.at_s - start_s) * 1e6))
        for member in members:
            start_us = round((start_s - member.admitted_s) * 1e6)
            member.stages.append(StageTiming(stage, start_us, duration_us, given_us))
