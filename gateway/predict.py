"""The life of a request, top to bottom: admit, recall, hydrate, retrieve, hydrate candidates, assemble,
predict, select. Each step works on a batch of requests for one pipeline. Transport-free;
`servicers/prediction.py` calls it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, Internal, Overloaded, Unavailable

from feature_store.store import OnlineStore
from gateway.admission import Admission
from gateway.admit import PredictRequest, admit
from gateway.batch import Answer, Batch, Member, Recalled, result_of
from gateway.plan import CompiledPipeline, CompiledRelease
from gateway.precomputed.precomputed import Precomputed
from gateway.recall import GaveUpWaiting, Recall
from gateway.steps.assemble import assemble
from gateway.steps.gates import Gates
from gateway.steps.hydrate import hydrate_candidates_step, hydrate_step
from gateway.steps.retrieve import request_candidates, retrieve_step
from gateway.steps.run_model import predict_step
from gateway.steps.select import select
from gateway.steps.stand_in import StandIn
from gateway.steps.step import Step, StepRunner
from runtime.admission_settings import AdmissionSettings
from runtime.batcher import Batcher, BatchLimits
from runtime.clock import Clock
from runtime.offload import Offload
from runtime.settings import RecallSettings

DEFAULT_REPLY_RESERVE_S = 0.002


class Predictor:
    """Answers requests. One per process; the plan to run comes with each request.

    `degraded` counts what answers had to do without, by (pipeline, stage, reason, action); `recall` is the
    prediction cache.
    """

    def __init__(
        self,
        store: OnlineStore,
        offload: Offload,
        clock: Clock,
        limits: BatchLimits | None = None,
        precomputed: Precomputed | None = None,
        reply_reserve_s: float = DEFAULT_REPLY_RESERVE_S,
        recall: Recall | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.degraded: Counter[tuple[str, str, str, str]] = Counter()
        self._clock = clock
        self._limits = limits
        self._reply_reserve_s = reply_reserve_s
        self._precomputed = precomputed or Precomputed(store, clock)
        self.recall = recall or Recall(clock, RecallSettings())
        self._stand_in = StandIn(self._precomputed, self.recall.kept)
        gates = self._gates = Gates()
        self._runner = StepRunner(clock, self._deliver)
        self._hydrate = hydrate_step(store, clock, gates.of_store)
        self._retrieve = retrieve_step(offload, gates.of_retrieval)
        self._hydrate_candidates = hydrate_candidates_step(store, clock, gates.of_store)
        self._assemble = Step("assemble", assemble)
        self._predict = predict_step(offload, gates.of_model, self._stand_in)
        self._select = Step("select", select)
        self.admission = admission or Admission(AdmissionSettings(), clock)
        self._batchers: dict[str, Batcher[Member, Answer | Recalled]] = {}

    async def predict(self, request: PredictRequest) -> Answer | Recalled:
        """Return the answer to one request: one that is kept, or made in one batch with the requests that
        came while it waited.

        Raises: InvalidRequest, NotUsable, Unavailable, Overloaded; DeadlineExceeded naming the step.
        Cost: two round trips to the store at the most, one search, one model run, shared by the batch.
        """
        member = self._admit(request)
        try:
            return await self.recall.answer(member, self._make)
        except GaveUpWaiting as error:
            found = await self._stand_in.for_request(member, error)
            if found is None:
                raise
            return self._counted(found)

    async def run(self, members: Sequence[Member]) -> list[Answer | Recalled | Error]:
        """Return each one's answer, or why it has none: requests for one pipeline, in one batch, now."""
        return await self._run(members)

    def keep_only(self, release: CompiledRelease) -> None:
        """Forget what was learnt of pipelines and models that the release doesn't have, but for pipelines
        with requests under way: those are forgotten with a later release."""
        names = release.pipelines
        self._batchers = {
            name: batcher for name, batcher in self._batchers.items() if name in names or not batcher.is_idle
        }
        self.admission.keep_only(names)
        self._gates.keep_only(names, {one.predict.runner.name for one in names.values()})

    async def aclose(self) -> None:
        """Let the requests under way end; refuse new ones."""
        await self.recall.aclose()
        for batcher in tuple(self._batchers.values()):
            await batcher.aclose()

    async def _make(self, member: Member) -> Answer | Recalled:
        """Return an answer that was made beforehand, is made now, or stands in for that."""
        found = None if member.pipeline.precomputed is None else await self._precomputed.first(member)
        return self._counted(found or await self._compute(member))

    async def _compute(self, member: Member) -> Answer | Recalled:
        """Return an answer that is made now, or what stands in for it."""
        try:
            with self.admission.admit(member):
                answer = await self._batcher(member.pipeline.name).submit(
                    member,
                    key=member.pipeline.release,
                    rows=member.row_count,
                    deadline=Deadline(member.give_up_s),
                    criticality=member.criticality,
                )
        except (DeadlineExceeded, Overloaded, Unavailable, Internal) as error:
            # A copy: the batch that the member is in may still be at work on it.
            waiting = replace(member, degradations=[], stages=list(member.stages))
            found = await self._stand_in.for_request(waiting, error)
            if found is not None:
                return found
            if isinstance(error, DeadlineExceeded) and "stage" not in error.metadata:
                last = member.stages[-1][0]
                raise DeadlineExceeded(
                    f"{error.message}, after {last}", **error.metadata, stage=last
                ) from error
            raise
        return answer

    def _counted(self, answer: Answer | Recalled) -> Answer | Recalled:
        """Count what an answer has to do without."""
        for part in answer.member.degradations:
            self.degraded[answer.member.pipeline.name, part.stage, part.reason, part.action] += 1
        return answer

    def _batcher(self, pipeline: str) -> Batcher[Member, Answer | Recalled]:
        """Return the pipeline's batcher: a slow pipeline holds up no other, and its costs are its own."""
        found = self._batchers.get(pipeline)
        if found is None:
            found = self._batchers[pipeline] = Batcher(self._run, self._clock, self._limits)
        return found

    def _admit(self, request: PredictRequest) -> Member:
        """Check the request. Whether it is taken on is asked once it is known that it must be computed."""
        member = admit(request, self._reply_reserve_s)
        self._stamp(member, "admit", request.admitted_s)
        return member

    async def _run(self, members: Sequence[Member]) -> list[Answer | Recalled | Error]:
        """Take a batch through the steps that its pipeline declares; a failure ends its own member."""
        pipeline, began_s = members[0].pipeline, self._clock.monotonic_s()
        for member in members:
            member.began_s = began_s
        batch = Batch(pipeline, list(members), self._clock.now_us())
        if pipeline.candidates is not None and pipeline.candidates.from_request:
            request_candidates(batch)
        await self._runner.run(batch, self._steps_of(pipeline))
        if batch.waited_s:
            self._batcher(pipeline.name).discount(members[0], batch.waited_s)
        return [result_of(member) for member in members]

    def _steps_of(self, pipeline: CompiledPipeline) -> list[Step]:
        """Return the steps that a pipeline declares, in order."""
        return [
            *([self._hydrate] if pipeline.hydrate else []),
            *([self._retrieve] if pipeline.retrieve is not None else []),
            *([self._hydrate_candidates] if pipeline.hydrate_candidates else []),
            self._assemble,
            self._predict,
            self._select,
        ]

    def _deliver(self, members: Sequence[Member]) -> None:
        """Answer members that have ended before the batch that they came in."""
        batcher = self._batchers.get(members[0].pipeline.name)
        if batcher is not None:
            for member in members:
                batcher.answer(member, result_of(member))

    def _stamp(self, member: Member, stage: str, start_s: float) -> None:
        """Note when a step of the request's own ran, and that it had all the time that is left."""
        now_s = self._clock.monotonic_s()
        member.stages.append((stage, start_s, now_s - start_s, member.deadline.at_s - start_s))
