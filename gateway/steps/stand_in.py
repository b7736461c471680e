"""What stands in for a prediction that can't be made: what the pipeline declares under `degrade.predict`,
tried in order, for each request by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import compress

import numpy as np
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, Overloaded, Unavailable
from numpy.typing import NDArray

from gateway.batch import Batch, Member, Recalled, another
from gateway.plan import FeatureFallback, PredictFallback
from gateway.precomputed.precomputed import Precomputed

STAGE = "predict"


class StandIn:
    """Finds what stands in for a prediction. `kept` returns a past answer to a request like this one, where
    there is one."""

    def __init__(self, precomputed: Precomputed, kept: Callable[[Member], Recalled | None]) -> None:
        self._precomputed = precomputed
        self._kept = kept

    async def for_request(self, member: Member, error: Error) -> Recalled | None:
        """Return an answer for a request that failed with `error` on its way to a prediction; None where
        nothing that is declared, and needs no features, is there."""
        reason = reason_of(error)
        for fallback in member.pipeline.predict_fallbacks:
            if isinstance(fallback, PredictFallback):
                found = await self._recalled(member, fallback, reason, member.reply_at_s)
                if found is not None:
                    return found
        return None

    async def for_batch(self, batch: Batch, reason: str, error: Error) -> None:
        """Give every member its answer, or scores in `batch.outputs`; fail those whom nothing helps."""
        waiting = [member.error is None and member.answer is None for member in batch.members]
        for fallback in batch.pipeline.predict_fallbacks:
            if isinstance(fallback, FeatureFallback):
                waiting = _score(batch, fallback, reason, waiting)
            else:
                members = list(compress(batch.members, waiting))
                found = await asyncio.gather(
                    *[self._recalled(one, fallback, reason, one.give_up_s) for one in members]
                )
                for member, answer in zip(members, found, strict=True):
                    member.answer = answer
                waiting = [
                    left and one.answer is None for one, left in zip(batch.members, waiting, strict=True)
                ]
            if not any(waiting):
                return
        for member in compress(batch.members, waiting):
            member.error = another(error)

    async def _recalled(
        self, member: Member, fallback: PredictFallback, reason: str, until_s: float
    ) -> Recalled | None:
        if fallback is PredictFallback.PRECOMPUTED:
            found = await self._precomputed.read(member, Deadline(until_s))
        else:
            found = self._kept(member)
        if found is not None:
            # The rows that had to be done without are no part of this answer.
            member.degradations.clear()
            member.degrade(STAGE, member.pipeline.predict.runner.name, reason, _ACTIONS[fallback], 1)
        return found


def reason_of(error: Error) -> str:
    """Return why a prediction wasn't made, as the reason of a `Degradation`."""
    if isinstance(error, DeadlineExceeded):
        return str(error.metadata.get("reason", "TIMEOUT"))
    if isinstance(error, Overloaded):
        return "OVERLOADED"
    return "UNAVAILABLE" if isinstance(error, Unavailable) else "ERROR"


_ACTIONS = {PredictFallback.PRECOMPUTED: "PRECOMPUTED", PredictFallback.STALE_ANSWER: "STALE_ANSWER"}


def _score(batch: Batch, fallback: FeatureFallback, reason: str, waiting: list[bool]) -> list[bool]:
    """Make a feature the score by which rows are ordered; return who still waits: members none of whose rows
    has a value. Other scores than that are NaN."""
    candidates, count = batch.candidates, len(batch.members)
    values = _column(batch, fallback)
    whose = np.arange(count) if candidates is None else candidates.member_of_row
    known = np.bincount(whose[~np.isnan(values)], minlength=count)
    rows = np.bincount(whose, minlength=count)
    nothing = np.full(len(values), np.nan, np.float32)
    by = batch.pipeline.select.by
    names = [output.score for output in batch.pipeline.predict.outputs]
    scored = by if by in names else names[0]
    batch.outputs = {name: values if name == scored else nothing for name in names}
    left = list(waiting)
    for place in compress(range(count), waiting):
        if known[place] or not rows[place]:
            subject = batch.pipeline.predict.runner.name
            batch.members[place].degrade(STAGE, subject, reason, "FEATURE_SCORE", int(rows[place]))
            left[place] = False
    return left


def _column(batch: Batch, fallback: FeatureFallback) -> NDArray[np.float32]:
    """Return the feature of every scored row, (rows,) float32, NaN where it has no value."""
    candidates = batch.candidates
    values = np.empty((batch.row_count, 1), np.float32)
    if fallback.of_candidate and candidates is not None:
        batch.candidate_blocks[fallback.view].gather(fallback.spec, values, candidates.rows)
    else:
        rows = None if candidates is None else candidates.member_of_row
        batch.blocks[fallback.view].gather(fallback.spec, values, rows)
    return values[:, 0]
