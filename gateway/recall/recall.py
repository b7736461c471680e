"""Gives requests answers that are known already, or on their way: the asyncio part. What is fresh is decided
in `entries`, who leads in `flights`, who may take what in `landing`.

1. A pipeline that declares no `cache:` goes straight on.
2. A fresh answer is given at once; a stale one too, and one request of many starts a refresh.
3. Else the request joins the flight that makes its answer, or starts it.
4. A flight is a task of its own, with the pipeline's whole budget. When it lands, its answer is kept if it is
   worth it, and goes to everybody who waited.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from copy import copy
from random import Random

from forebay.deadline import NEVER
from forebay.errors import DeadlineExceeded, Error, Internal, Unavailable

from gateway.answer_wire import keep
from gateway.batch import Answer, Member, Recalled, another
from gateway.kept_answer import CacheOutcome, KeptAnswer
from gateway.plan import RecallStep
from gateway.recall.entries import Entries, Entry, Freshness, Rows
from gateway.recall.flights import Flight, Flights
from gateway.recall.landing import Landing, Worth, drawn, failed, made, worth_of
from gateway.recall.stats import RecallStats
from runtime.batcher import Criticality
from runtime.clock import Clock
from runtime.settings import RecallSettings

logger = logging.getLogger(__name__)

Make = Callable[[Member], Awaitable[Answer | Recalled]]

JITTER_RATIO = 0.1
"""How much longer or shorter than declared an answer is fresh: those made together don't end together."""

REFRESH_PAUSE_S = 0.25
"""From one refresh of an answer to the next, where the first brought nothing to keep. While a dependency is
gone it bounds the attempts, however often an answer is asked for."""


class GaveUpWaiting(DeadlineExceeded):
    """A request's time is over, and its answer is still on its way."""


class Recall:
    """The prediction cache of one process."""

    def __init__(self, clock: Clock, settings: RecallSettings, random: Random | None = None) -> None:
        self.stats = RecallStats()
        self._clock = clock
        self._retained_s = settings.stale_answer_max_age_s
        self._random = random or Random()
        self._entries = Entries(settings.max_bytes, settings.max_entry_bytes, self.stats)
        self._flights = Flights()
        self._tasks: dict[Flight, asyncio.Task[Landing]] = {}
        self._context = copy_context()
        self._release: int | None = None
        self._closed = False

    async def answer(self, member: Member, make: Make) -> Answer | Recalled:
        """Return an answer that is kept, or on its way, or that `make` makes.

        Raises: what `make` raises, a copy of it for everybody who waited; GaveUpWaiting when the member's
        time is over first; Unavailable when the server stops.
        Cancellation: touches nobody else, nor the answer on its way.
        Cost: no turn of the loop where an answer is kept; a task where one is made.
        """
        start_s = self._clock.monotonic_s()
        step = member.pipeline.recall
        if step is None:
            self._stamp(member, start_s)
            return await make(member)
        key = _key(member, step)
        if not step.caches:
            self._stamp(member, start_s)
            return await self._retain(member, key, start_s, make)
        entry = self._entries.get(key)
        if entry is not None:
            freshness = entry.freshness(member.pipeline.release, start_s, self._clock.now_us())
            if freshness is not Freshness.SPENT:
                self._entries.name(entry, member.raw)
                return self._give(member, entry, freshness, start_s, make)
        flight = self._flights.under_way(key, member.pipeline.release, member.criticality)
        if flight is None:
            return await self._lead(member, key, start_s, make)
        return await self._join(member, flight, start_s, make)

    def known(self, raw: bytes, release: int, now_s: float) -> tuple[Entry, CacheOutcome] | None:
        """Return the kept answer to a request as it came in, and count it, where nothing is left to do but to
        give it out; else None. Cost: about 1 us."""
        entry = self._entries.named(raw)
        if entry is None:
            return None
        freshness = entry.freshness(release, now_s, self._clock.now_us())
        if freshness is Freshness.FRESH:
            self.stats.hits += 1
            return entry, CacheOutcome.HIT
        if freshness is Freshness.STALE and now_s < entry.refresh_from_s:
            self.stats.stale += 1
            return entry, CacheOutcome.STALE
        return None

    def kept(self, member: Member) -> Recalled | None:
        """Return the newest answer kept for such a request, of whatever release, for one that can't be
        answered otherwise; None where there is none, or it is too old even for that."""
        step = member.pipeline.recall
        entry = None if step is None else self._entries.get(_key(member, step))
        now_s = self._clock.monotonic_s()
        if entry is None or now_s >= entry.retained_until_s:
            return None
        return Recalled(member, entry.kept, CacheOutcome.STALE, _us(now_s - entry.made_s))

    def adopt(self, release: int) -> None:
        """Take note that a release is in service: what others still make is given, and no longer kept.

        A number below the last one comes from a registry that was set up anew, in which numbers come again:
        all that is kept goes.
        """
        if self._release is not None and release < self._release:
            self._entries.clear()
        self._release = release

    def wrote(self, view: str, texts: Sequence[str]) -> None:
        """Let go of the answers that were made from these rows, once the write has ended or may have.

        Answers on their way that may have read one of them before are not kept, and go only to those who had
        asked by now.
        """
        self._entries.drop_rows(view, texts)
        if len(self._flights):
            self._flights.wrote(view, frozenset(texts))

    async def aclose(self) -> None:
        """End the answers on their way; who waits for one, or asks for one, gets Unavailable."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _give(
        self, member: Member, entry: Entry, freshness: Freshness, start_s: float, make: Make
    ) -> Recalled:
        """Return a kept answer; start a refresh where one is due."""
        outcome = CacheOutcome.HIT
        if freshness is Freshness.FRESH:
            self.stats.hits += 1
        else:
            outcome = CacheOutcome.STALE
            self.stats.stale += 1
            if start_s >= entry.refresh_from_s and not self._closed:
                self._refresh(member, entry, start_s, make)
        self._stamp(member, start_s)
        return Recalled(member, entry.kept, outcome, _us(start_s - entry.made_s))

    def _refresh(self, member: Member, entry: Entry, now_s: float, make: Make) -> None:
        if self._flights.under_way(entry.key, member.pipeline.release, Criticality.SHEDDABLE) is None:
            self.stats.refreshes += 1
            entry.refresh_from_s = now_s + REFRESH_PAUSE_S
            self._start(member, entry.key, Criticality.SHEDDABLE, make)

    async def _lead(self, member: Member, key: bytes, start_s: float, make: Make) -> Recalled:
        self._stamp(member, start_s)
        self.stats.misses += 1
        flight, flying = self._start(member, key, member.criticality, make)
        try:
            landing = await self._wait(member, flight)
        finally:
            member.stages[:] = flying.stages
        return self._hand(member, landing, flight, CacheOutcome.MISS)

    async def _join(self, member: Member, flight: Flight, start_s: float, make: Make) -> Recalled:
        """Return what a flight under way brings. Who can't take that makes, or joins, one more, and takes
        what comes: a dependency that is gone would else have everybody go round until their deadlines."""
        heard = len(flight.writes)
        landing = await self._wait(member, flight, start_s)
        now_s = self._clock.monotonic_s()
        if not landing.serves(heard, member.give_up_s - now_s):
            self.stats.remade += 1
            another_flight = self._flights.under_way(flight.key, flight.release, member.criticality)
            if another_flight is None:
                return await self._lead(member, flight.key, start_s, make)
            flight = another_flight
            landing = await self._wait(member, flight, start_s)
        self.stats.joined += 1
        self._stamp(member, start_s)
        return self._hand(member, landing, flight, CacheOutcome.JOINED)

    async def _wait(self, member: Member, flight: Flight, joined_s: float | None = None) -> Landing:
        """Return how a flight landed, unless the member's time is over first: then it flies on."""
        task = self._tasks[flight]
        remaining_s = member.give_up_s - self._clock.monotonic_s()
        await asyncio.wait((task,), timeout=max(0.0, remaining_s))
        if not task.done():
            if joined_s is not None:
                self._stamp(member, joined_s)
            raise GaveUpWaiting("the answer was on its way when its time was over", stage="recall")
        if task.cancelled():
            raise Unavailable("the server is stopping")
        return task.result()

    def _hand(self, member: Member, landing: Landing, flight: Flight, outcome: CacheOutcome) -> Recalled:
        """Return to one member what a flight brought."""
        if landing.kept is None:
            raise another(landing.error or Internal("a flight ended without an answer and without an error"))
        member.degradations.extend(landing.degradations)
        if landing.outcome is not None:
            return Recalled(member, landing.kept, landing.outcome, landing.age_us)
        age_us = 0 if outcome is CacheOutcome.MISS else _us(self._clock.monotonic_s() - flight.started_s)
        return Recalled(member, landing.kept, outcome, age_us)

    def _start(
        self, member: Member, key: bytes, criticality: Criticality, make: Make
    ) -> tuple[Flight, Member]:
        """Start the making of an answer, in a task that nothing that happens to a caller reaches."""
        if self._closed:
            raise Unavailable("the server is stopping")
        pipeline, now_s = member.pipeline, self._clock.monotonic_s()
        flying = copy(member)
        flying.criticality, flying.deadline = criticality, pipeline.budget.deadline(NEVER, now_s)
        later_s = flying.deadline.at_s - member.deadline.at_s
        flying.work_until_s, flying.give_up_s = member.work_until_s + later_s, member.give_up_s + later_s
        flying.stages, flying.degradations, flying.row_texts = list(member.stages), [], {}
        watched = frozenset() if pipeline.recall is None else pipeline.recall.watched
        flight = self._flights.start(key, pipeline.release, criticality, now_s, watched)
        self._tasks[flight] = asyncio.get_running_loop().create_task(
            self._fly(flight, flying, make), name="flight", context=self._context.copy()
        )
        return flight, flying

    async def _fly(self, flight: Flight, member: Member, make: Make) -> Landing:
        """Make an answer; return it as a value, for a refresh has nobody who would take an exception."""
        now_us = self._clock.now_us()
        try:
            return self._landed(flight, member, await make(member), now_us)
        except Error as error:
            return failed(error, self._took_s(flight))
        except Exception as error:
            identity = secrets.token_hex(8)
            logger.error("internal error %s in pipeline %s", identity, member.pipeline.name, exc_info=error)
            return failed(Internal(f"internal error {identity}", id=identity), self._took_s(flight))
        finally:
            self._flights.end(flight)
            del self._tasks[flight]

    def _landed(self, flight: Flight, member: Member, answer: Answer | Recalled, now_us: int) -> Landing:
        """Return what a flight brought; keep it, if it was made now and nothing it read was written since."""
        if isinstance(answer, Recalled):
            return drawn(answer, self._took_s(flight))
        kept, rows = keep(answer, now_us), _rows(member)
        outdated_from = flight.first_write_to(rows)
        if outdated_from is None:
            self._store(flight.key, member, kept, worth_of(answer), flight.started_s, rows)
        return made(member, kept, self._took_s(flight), outdated_from)

    async def _retain(self, member: Member, key: bytes, start_s: float, make: Make) -> Answer | Recalled:
        """Return an answer that is kept only for when none can be made."""
        now_us = self._clock.now_us()
        answer = await make(member)
        if isinstance(answer, Recalled) or worth_of(answer) is Worth.NONE:
            return answer
        kept = keep(answer, now_us)
        self._store(key, member, kept, Worth.WHOLE, start_s, {})
        member.degradations = []  # They are in what is kept.
        return Recalled(member, kept, CacheOutcome.OFF, 0)

    def _store(
        self, key: bytes, member: Member, kept: KeptAnswer, worth: Worth, made_s: float, rows: Rows
    ) -> None:
        step = member.pipeline.recall
        if step is None or worth is Worth.NONE or self._release not in (None, kept.release):
            return
        found = self._entries.get(key)
        if found is not None and found.kept.release == kept.release and found.made_s > made_s:
            return  # A more critical flight began later and landed first.
        jitter = 1 + JITTER_RATIO * (2 * self._random.random() - 1)
        fresh_until_s = made_s + step.fresh_s * jitter
        stale_until_s = fresh_until_s
        if worth is Worth.WHOLE and step.stale_s:
            stale_until_s = made_s + step.fresh_s + step.stale_s
        entry = Entry(
            key=key,
            pipeline=member.pipeline.name,
            kept=kept,
            made_s=made_s,
            fresh_until_s=fresh_until_s,
            stale_until_s=stale_until_s,
            retained_until_s=made_s + self._retained_s if step.retains else 0.0,
            rows=rows,
        )
        if self._entries.put(entry) and step.caches:
            self._entries.name(entry, member.raw)

    def _took_s(self, flight: Flight) -> float:
        return self._clock.monotonic_s() - flight.started_s

    def _stamp(self, member: Member, start_s: float) -> None:
        """Note how long the step took: the look-up, and the wait for another's flight."""
        now_s = self._clock.monotonic_s()
        member.stages.append(("recall", start_s, now_s - start_s, member.deadline.at_s - start_s))


def _key(member: Member, step: RecallStep) -> bytes:
    named = None if member.candidates is None else member.candidates.texts
    return step.key.of(member.inputs.values, member.top, member.return_features, named)


def _rows(member: Member) -> Rows:
    """Return the rows that went into a member's answer, of the views whose writes end it."""
    step = member.pipeline.recall
    if step is None or not step.watched:
        return {}
    rows = dict(member.row_texts)
    for view, entity in step.entity_views:
        rows[view] = [*rows.get(view, ()), member.inputs.keys[entity]]
    return rows


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)
