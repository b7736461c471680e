"""Admission control: which calls are taken on when too many come at once. Settings become limits here, and
refusals errors; the limits themselves are in `runtime/limiter.py`, `runtime/quota.py` and
`runtime/concurrency.py`. Nothing waits here: who is let in waits in its pipeline's batcher, if at all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from types import TracebackType

from forebay.errors import DeadlineExceeded, Internal, Overloaded, Unavailable

from gateway.batch import Member
from runtime.admission_settings import AdmissionSettings
from runtime.batcher import Criticality
from runtime.clock import Clock
from runtime.concurrency import ConcurrencyLimit, ConcurrencyStats
from runtime.limiter import Limiter, LimiterLimits, LimiterStats, Outcome, Permit, Refusal
from runtime.quota import Quota, Quotas, QuotaStats
from runtime.retry_times import RetryTimes


@dataclass(frozen=True, slots=True)
class PipelineAdmission:
    """One pipeline's limiter, as it is now: limits by criticality, and counts since the start."""

    in_flight: int
    limits: Mapping[Criticality, int]
    counts: LimiterStats


@dataclass(frozen=True, slots=True)
class AdmissionStats:
    """Who was let in and who was not, as it is now. `calls`: reads, writes, searches."""

    pipelines: Mapping[str, PipelineAdmission]
    calls: Mapping[str, ConcurrencyStats]
    calls_in_flight: Mapping[str, int]
    quotas: QuotaStats


class Place:
    """A call's place among those of its kind; left at the end of the block."""

    __slots__ = ("_limit",)

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        """The place is taken already, or there would be none."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.leave()


class Turn:
    """A member's permit; given back at the end of the block, with how the member fared."""

    __slots__ = ("_clock", "_limiter", "_member", "_permit")

    def __init__(self, limiter: Limiter, permit: Permit, member: Member, clock: Clock) -> None:
        self._limiter = limiter
        self._permit = permit
        self._member = member
        self._clock = clock

    def __enter__(self) -> None:
        """The permit is taken already, or there would be none."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now_s, member, permit = self._clock.monotonic_s(), self._member, self._permit
        began_s = member.began_s
        waited_s = min(now_s, began_s) - permit.admitted_s
        is_late = now_s >= member.deadline.at_s
        outcome = Outcome.ANSWERED if error is None and not is_late else _outcome(error, is_late)
        self._limiter.release(permit, now_s, max(0.0, waited_s), outcome)


class Admission:
    """Takes calls on, or refuses them with Overloaded and when to come back. One per process.

    A pipeline has a limiter of its own, as it has a batcher of its own: a slow one takes nothing from the
    others. Cost: a few microseconds a call.
    """

    def __init__(self, settings: AdmissionSettings, clock: Clock) -> None:
        self._clock = clock
        self._limits = LimiterLimits(ceiling=settings.max_in_flight, adaptive=settings.adaptive)
        self._limiters: dict[str, Limiter] = {}
        self._reads = ConcurrencyLimit(settings.max_reads)
        self._writes = ConcurrencyLimit(settings.max_writes)
        self._searches = ConcurrencyLimit(settings.max_searches)
        self._retries = RetryTimes()
        self._quotas = Quotas(
            Quota(settings.caller_rate_per_s or inf, settings.caller_burst),
            {name: Quota(own.rate_per_s, own.burst) for name, own in settings.callers.items()},
            settings.callers_remembered,
        )

    @property
    def stats(self) -> AdmissionStats:
        """Who was let in and who was not."""
        calls = {"reads": self._reads, "writes": self._writes, "searches": self._searches}
        return AdmissionStats(
            {name: _seen(limiter) for name, limiter in self._limiters.items()},
            {name: limit.stats for name, limit in calls.items()},
            {name: limit.in_flight for name, limit in calls.items()},
            self._quotas.stats,
        )

    def admit(self, member: Member) -> Turn:
        """Return the right to run a member, for a `with` block.

        Raises: Overloaded where as many as its pipeline can answer in time are under way.
        """
        name = member.pipeline.name
        limiter = self._limiters.get(name)
        if limiter is None:
            limiter = self._limiters[name] = Limiter(self._limits)
        now_s = self._clock.monotonic_s()
        permit = limiter.admit(now_s, member.criticality, member.give_up_s - now_s)
        if isinstance(permit, Refusal):
            raise Overloaded(
                f"too many requests: pipeline {name} has {permit.limit} under way",
                retry_after_s=permit.retry_after_s,
                limit="pipeline",
            )
        return Turn(limiter, permit, member, self._clock)

    def keep_only(self, pipelines: Collection[str]) -> None:
        """Forget the limiters of other pipelines, but for those with requests under way."""
        self._limiters = {
            name: limiter
            for name, limiter in self._limiters.items()
            if name in pipelines or limiter.in_flight
        }

    def read(self, criticality: Criticality) -> Place:
        """Return a place among the reads of features, for a `with` block. Raises: Overloaded."""
        return _enter(self._reads, criticality, "reads")

    def write(self, criticality: Criticality) -> Place:
        """Return a place among the writes and deletions, for a `with` block. Raises: Overloaded."""
        return _enter(self._writes, criticality, "writes")

    def search(self, criticality: Criticality) -> Place:
        """Return a place among the searches, for a `with` block. Raises: Overloaded."""
        return _enter(self._searches, criticality, "searches")

    def charge(self, caller: str) -> None:
        """Count one call of a caller's against its quota.

        Raises: Overloaded naming the caller and the quota; not before its next call is allowed, and spread
            over as long again, should it come back.
        """
        wait_s = self._quotas.take(caller, self._clock.monotonic_s())
        if wait_s > 0.0:
            quota, name = (
                self._quotas.of(caller),
                f"caller {caller!r}" if caller else "callers without a name",
            )
            raise Overloaded(
                f"too many requests: {name} may make {quota.rate_per_s:g} calls a second, "
                f"{quota.burst} at once",
                retry_after_s=self._retries.after(wait_s),
                limit="caller",
            )

    @property
    def charges(self) -> bool:
        """Whether any caller has a quota."""
        return self._quotas.bounds


def _enter(limit: ConcurrencyLimit, criticality: Criticality, kind: str) -> Place:
    retry_after_s = limit.enter(criticality)
    if retry_after_s > 0.0:
        bound = limit.bound(criticality)
        raise Overloaded(
            f"too many requests: {bound} {kind} are under way", retry_after_s=retry_after_s, limit=kind
        )
    return Place(limit)


def _outcome(error: BaseException | None, is_late: bool) -> Outcome:
    if isinstance(error, Overloaded):
        return Outcome.GONE  # by the batcher, which sees from a request's own deadline that it is in vain
    if isinstance(error, Unavailable | Internal):
        return Outcome.GONE  # what fails at once would pass for an answer that takes no time
    if is_late or isinstance(error, DeadlineExceeded):
        return Outcome.MISSED
    return Outcome.GONE if isinstance(error, asyncio.CancelledError) else Outcome.ANSWERED


def _seen(limiter: Limiter) -> PipelineAdmission:
    limits = {criticality: limiter.limit(criticality) for criticality in Criticality}
    return PipelineAdmission(limiter.in_flight, limits, limiter.stats)
