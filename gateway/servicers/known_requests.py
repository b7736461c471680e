"""Answers requests that came before, byte for byte, and whose answer is kept: without parsing them. What of
the prediction cache is more than that is in `gateway/recall/`."""

from __future__ import annotations

from random import randbytes

from gateway.answer_wire import OwnPart, RecordedBytes
from gateway.live import LiveRelease
from gateway.recall import Recall
from runtime.clock import Clock
from runtime.rpc.call import Call


class KnownRequests:
    """Gives kept answers to requests as they come in. Cost: about 10 us, none of it waiting."""

    def __init__(self, live: LiveRelease, recall: Recall, clock: Clock) -> None:
        self._live = live
        self._recall = recall
        self._clock = clock
        self._own = OwnPart()

    def answer(self, raw: bytes, call: Call) -> bytes | None:
        """Return the response; None where the request has to be looked into."""
        if not (self._recall.stats.entries and self._live.loaded):
            return None
        now_s, release = self._clock.monotonic_s(), self._live.current
        known = self._recall.known(raw, release.number, now_s)
        if known is None:
            return None
        entry, outcome = known
        call.pipeline = entry.pipeline
        budget = release.pipeline(entry.pipeline).budget
        call.deadline = deadline = budget.deadline(call.deadline, call.started_s)
        ids = randbytes(16).hex(), call.trace_id
        admitted_us = int((now_s - call.started_s) * 1e6)
        took_us = int((self._clock.monotonic_s() - now_s) * 1e6)
        given_us = int((deadline.at_s - call.started_s) * 1e6)
        own = self._own.bytes(
            ids, outcome, int((now_s - entry.made_s) * 1e6), (admitted_us, took_us, given_us)
        )
        response = entry.kept.body + own
        call.answer = RecordedBytes(response)
        return response
