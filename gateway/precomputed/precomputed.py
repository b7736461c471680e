"""Answers that were made beforehand: looked up before anything is computed (`first`), or where computing
failed (`read`). `forebay precompute` makes them (jobs/precompute.py)."""

from __future__ import annotations

import logging

from forebay.deadline import Deadline
from forebay.errors import Corrupt, DeadlineExceeded, Error

from feature_store.store import OnlineStore
from gateway.batch import Member, Recalled
from gateway.kept_answer import CacheOutcome, KeptAnswer
from gateway.precomputed.kept_bytes import StoredAnswer, shortened, unpacked
from gateway.precomputed.plan import PrecomputedPlan
from runtime.clock import Clock
from runtime.gate import Gate

logger = logging.getLogger(__name__)

STAGE = "precomputed"
"""What a lookup is called among the stages of an answer."""

DEFAULT_WAIT_S = 0.005
_SHARE = 0.25
"""Of the time that is left: what a lookup may take of it, so that a miss can still be computed."""


class Precomputed:
    """Finds precomputed answers. A store that is slow or gone is a miss; nothing is ever raised. Nor is it
    asked again and again: a gate of its own lets one lookup through every 100 ms until one succeeds.

    Cost: one round trip for a pipeline that has precomputed answers; nothing for others.
    """

    def __init__(self, store: OnlineStore, clock: Clock, wait_s: float = DEFAULT_WAIT_S) -> None:
        self._store = store
        self._clock = clock
        self._wait_s = wait_s
        self._gate = Gate()
        self._complaints: set[str] = set()

    async def first(self, member: Member) -> Recalled | None:
        """Return the answer to exactly these inputs, or inputs of the same bins, for a pipeline that gives
        precomputed answers first; None where it has to be computed.
        """
        plan = member.pipeline.precomputed
        if plan is None or not plan.is_first:
            return None
        now_s = self._clock.monotonic_s()
        wait_s = min(self._wait_s, member.deadline.remaining_s(now_s) * _SHARE)
        return await self._look(member, plan, now_s, wait_s, exact=True)

    async def read(self, member: Member, deadline: Deadline) -> Recalled | None:
        """Return the answer for this request's entities in place of one that can't be computed.

        Inputs whose value all precomputed answers share may differ: the caller says that the answer is none
        of the request's own (a degradation).
        """
        plan = member.pipeline.precomputed
        if plan is None:
            return None
        now_s = self._clock.monotonic_s()
        return await self._look(member, plan, now_s, deadline.remaining_s(now_s), exact=False)

    async def _look(
        self, member: Member, plan: PrecomputedPlan, now_s: float, wait_s: float, *, exact: bool
    ) -> Recalled | None:
        key = plan.keys.find(member.inputs.values, exact=exact)
        if key is None or not self._gate.admit(now_s, wait_s):
            return None
        raw = await self._get(key, now_s, wait_s)
        now_us = self._clock.now_us()
        try:
            found = None if raw is None else _fitting(unpacked(raw), plan, member, now_us)
        except Corrupt as error:
            self._complain(member.pipeline.name, error.message)
            found = None
        member.stages.append((STAGE, now_s, self._clock.monotonic_s() - now_s, wait_s))
        if found is None:
            return None
        return Recalled(member, found, CacheOutcome.PRECOMPUTED, max(0, now_us - found.made_us))

    def _complain(self, pipeline: str, reason: str) -> None:
        """Log once per pipeline what is wrong with what is stored for it: every request meets it."""
        if pipeline not in self._complaints:
            self._complaints.add(pipeline)
            logger.error("precomputed answers of pipeline %s can't be read: %s", pipeline, reason)

    async def _get(self, key: bytes, now_s: float, wait_s: float) -> bytes | None:
        """Return what lies under a key; None where nothing does, or the store doesn't say so in time."""
        try:
            [raw] = await self._store.get_many([key], Deadline(now_s + wait_s))
        except DeadlineExceeded:
            self._gate.timed_out(self._clock.monotonic_s(), wait_s)
            return None
        except Error as error:
            self._gate.failed(self._clock.monotonic_s())
            logger.debug("a precomputed answer can't be read: %s", error.message)
            return None
        end_s = self._clock.monotonic_s()
        self._gate.succeeded(end_s, end_s - now_s)
        return raw


def _fitting(stored: StoredAnswer, plan: PrecomputedPlan, member: Member, now_us: int) -> KeptAnswer | None:
    """Return what the request may have of a stored answer; None where it is too old or holds too little.

    Statuses that have come true no more (a value has outlived its view's max_age) aren't given out.
    """
    kept, wanted = stored.kept, tuple(member.return_features)
    if now_us - kept.made_us > plan.max_age_us or (wanted and now_us > kept.stale_at_us):
        return None
    is_ranked = member.pipeline.candidates is not None
    if is_ranked and member.top > plan.top and stored.row_count >= plan.top:
        return None
    if wanted != plan.features and not set(wanted) <= set(plan.features):
        return None
    if wanted == plan.features and (not is_ranked or member.top >= stored.row_count):
        return kept
    return shortened(kept, member.top, wanted)
