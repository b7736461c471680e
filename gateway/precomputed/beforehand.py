"""Makes answers before anybody asks for them: the same steps as for a request, in batches as large as memory
allows, without anybody's deadline. `jobs/precompute.py` says for which inputs, and stores them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, Error, Internal, InvalidRequest, Overloaded, Unavailable

from gateway.admit import MAX_TOP
from gateway.answer_wire import keep
from gateway.batch import Answer, Member, Recalled
from gateway.budget import Budget
from gateway.convert import row_count
from gateway.inputs import InputValue
from gateway.plan import CompiledPipeline
from gateway.precomputed.kept_bytes import StoredAnswer, packed
from gateway.predict import Predictor
from runtime.batcher import Criticality
from runtime.clock import Clock

BATCH_MEMBERS = 256
BATCH_ROWS = 8192
"""Scored rows of one batch, all members' together: bounds what a model run takes of memory."""
TIMEOUT_S = 60.0
"""For one batch: longer means that something it needs is gone."""

_PASSING = (DeadlineExceeded, Internal, Overloaded, Unavailable)
_PASSING_REASONS = frozenset(["TIMEOUT", "NO_TIME", "UNAVAILABLE", "OVERLOADED", "ERROR"])


@dataclass(frozen=True, slots=True)
class MadeAnswer:
    """An answer as the store holds it; `degraded` where features it needed were missing or stale."""

    raw: bytes
    degraded: bool


class Beforehand:
    """Makes answers of one pipeline, each with `top` rows at most (0: one row) and with `features`."""

    def __init__(
        self,
        predictor: Predictor,
        pipeline: CompiledPipeline,
        clock: Clock,
        *,
        top: int,
        features: Sequence[str],
    ) -> None:
        self._predictor = predictor
        self._pipeline = replace(pipeline, budget=Budget(None, {}), precomputed=None, predict_fallbacks=())
        self._clock = clock
        self._top = top
        self._features = tuple(features)

    async def make(self, inputs: Sequence[Mapping[str, InputValue]]) -> list[MadeAnswer | Error]:
        """Return the answer to each of these inputs, or why its data allows none.

        Raises: Unavailable and its like where something that answers need is slow or gone, which says nothing
        of the data: none of these answers counts then.
        """
        members: list[Member | Error] = [self._member(values) for values in inputs]
        valid = [member for member in members if isinstance(member, Member)]
        made: list[MadeAnswer | Error] = []
        for batch in _batches(valid):
            now_s = self._clock.monotonic_s()
            for member in batch:
                member.deadline, member.admitted_s = Deadline(now_s + TIMEOUT_S), now_s
                member.work_until_s = member.give_up_s = now_s + TIMEOUT_S
            made += [self._kept(result) for result in await self._predictor.run(batch)]
        results = iter(made)
        return [next(results) if isinstance(member, Member) else member for member in members]

    def _member(self, values: Mapping[str, InputValue]) -> Member | Error:
        try:
            inputs = self._pipeline.inputs.keyed(values)
        except InvalidRequest as error:
            return error
        return Member(
            pipeline=self._pipeline,
            criticality=Criticality.SHEDDABLE,
            inputs=inputs,
            deadline=NEVER,
            work_until_s=NEVER.at_s,
            give_up_s=NEVER.at_s,
            admitted_s=0.0,
            top=self._top or MAX_TOP,
            return_features=self._features,
            candidates=None,
            prediction_id="",
            trace_id="",
            stages=[],
        )

    def _kept(self, result: Answer | Recalled | Error) -> MadeAnswer | Error:
        if isinstance(result, _PASSING):
            raise result
        if isinstance(result, Error):
            return result
        if not isinstance(result, Answer):
            raise Internal("an answer was recalled where it had to be made")
        for part in result.member.degradations:
            if part.reason in _PASSING_REASONS:
                raise Unavailable(f"{part.stage} of {part.subject} can't be relied on now: {part.reason}")
        kept = keep(result, self._clock.now_us())
        stored = StoredAnswer(kept, row_count(result.scores[0].values))
        return MadeAnswer(packed(stored), kept.degraded)


def _batches(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Yield the members in order, as many at a time as one run may take."""
    batch: list[Member] = []
    rows = 0
    for member in members:
        if batch and (len(batch) >= BATCH_MEMBERS or rows + member.row_count > BATCH_ROWS):
            yield batch
            batch, rows = [], 0
        batch.append(member)
        rows += member.row_count
    if batch:
        yield batch
