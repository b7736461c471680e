"""Waits for submitted predictions to end: by what is heard, and by a slow look for what isn't."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import islice

from forebay.deadline import NEVER, Deadline

from gateway.submissions.endings import Endings
from gateway.submissions.submission import Outcome, State
from gateway.submissions.submission_queue import SubmissionQueue
from runtime.clock import Clock

_OUTCOMES_AT_ONCE = 16
"""Results that are read by one command and held at once for one watcher: they may be large."""


class Waiting:
    """Waits, for any number of callers, on one queue. Raises: as `SubmissionQueue`."""

    def __init__(self, queue: SubmissionQueue, endings: Endings, clock: Clock, poll_s: float) -> None:
        self._queue = queue
        self._endings = endings
        self._clock = clock
        self._poll_s = poll_s
        self._hurried = False

    def hurry(self) -> None:
        """End the waits for one prediction with what is known now; from now on there are none. For a server
        that stops."""
        self._hurried = True
        self._endings.tell_all()

    async def outcome(self, prediction_id: str, until: Deadline, deadline: Deadline) -> Outcome | None:
        """Return what is known of a prediction when it has ended, or at `until` (before `deadline`) at the
        latest.

        Cost: a round trip before and after the wait; while it waits one per `poll_s`.
        """
        with self._endings.listen([prediction_id]) as listener:
            while True:
                found = await self._queue.outcome(prediction_id, deadline)
                left_s = 0.0 if self._hurried else until.remaining_s(self._clock.monotonic_s())
                if found is None or found.state is not State.PENDING or left_s <= 0:
                    return found
                await listener.heard(min(left_s, self._patience_s()))

    async def each(
        self, prediction_ids: Iterable[str], deadline: Deadline = NEVER
    ) -> AsyncGenerator[tuple[str, Outcome | None], None]:
        """Yield each prediction once, as it ends, with its result; None where it is unknown or has expired.

        What has ended before comes first, in the order of the ids. Cost: a round trip per 16 that ended;
        while all are pending one per `poll_s`, without their bodies.
        """
        left = dict.fromkeys(prediction_ids)
        with self._endings.listen(left) as listener:
            suspects: Sequence[str] = list(left)
            while left:
                for some in _in_parts(await self._ended(suspects, deadline), _OUTCOMES_AT_ONCE):
                    outcomes = await self._queue.outcomes(some, deadline)
                    for prediction_id, outcome in zip(some, outcomes, strict=True):
                        if outcome is None or outcome.state is not State.PENDING:
                            del left[prediction_id]
                            yield prediction_id, outcome
                if left:
                    heard = await listener.heard(self._patience_s())
                    suspects = [one for one in left if one in heard] if heard else list(left)

    async def _ended(self, prediction_ids: Sequence[str], deadline: Deadline) -> list[str]:
        pending = await self._queue.pending(prediction_ids, deadline)
        return [one for one, waits in zip(prediction_ids, pending, strict=True) if not waits]

    def _patience_s(self) -> float:
        """Return how long to wait without a word: jittered, so that those who wait don't all look at once."""
        return self._poll_s * random.uniform(0.75, 1.25)


def _in_parts(items: Sequence[str], size: int) -> Iterable[list[str]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
