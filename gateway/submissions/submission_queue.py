"""A gateway's side of the queue: accepts predictions and looks up what became of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from forebay.deadline import NEVER, Deadline
from forebay.errors import Corrupt, InvalidRequest, Overloaded

from gateway.submissions.keys import Keys, hash_of
from gateway.submissions.scripts import SUBMIT, milliseconds, refused, run_script
from gateway.submissions.submission import MAX_ID_LENGTH, MAX_KEY_BYTES, Outcome, State, Submission
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection, RedisReplyError
from runtime.submission_settings import SubmissionSettings

_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 0.5, 30.0
_DRAINED_RATIO = 0.1
"""Who is refused may come back when about this part of the queue has drained, at the pace of its oldest
entry."""


class SubmissionQueue:
    """One application's submitted predictions, as a gateway sees them.

    Every method raises Unavailable where Redis is gone, DeadlineExceeded, and NotUsable where Redis refuses.
    """

    def __init__(
        self, connection: RedisConnection, app: str, settings: SubmissionSettings, clock: Clock
    ) -> None:
        self._connection = connection
        self._keys = Keys(app)
        self._settings = settings
        self._clock = clock

    async def submit(
        self,
        request: bytes,
        *,
        release: int,
        idempotency_key: str = "",
        trace_id: str = "",
        deadline: Deadline = NEVER,
    ) -> str:
        """Return the id of the prediction that will be made; the first one's, where the idempotency key was
        submitted before and its prediction is still kept.

        The same request must always be the same bytes. When this fails as Unavailable or DeadlineExceeded the
        prediction may have been accepted: the same key again tells.

        Raises: InvalidRequest naming `request` or `idempotency_key`; Overloaded while the queue is full.
        Cost: one round trip.
        """
        self._check(request, idempotency_key)
        prediction_id = secrets.token_hex(16)  # who knows it may read the result
        key_hash = hash_of(idempotency_key) if idempotency_key else ""
        digest = hash_of(request)
        submission = Submission(prediction_id, request, release, trace_id, key_hash, self._clock.now_us())
        record = self._keys.record(prediction_id)
        verdict, told = await run_script(
            self._connection,
            SUBMIT,
            [record, self._keys.work, self._keys.first(key_hash) if key_hash else record],
            [
                self._settings.max_backlog,
                milliseconds(self._settings.pending_s + self._settings.keep_s),
                digest + prediction_id if key_hash else "",
                *submission.fields(),
            ],
            deadline,
        )
        if verdict == b"FULL":
            raise self._full(told)
        return _first(told.decode(), digest) if verdict == b"FIRST" else prediction_id

    async def outcome(self, prediction_id: str, deadline: Deadline = NEVER) -> Outcome | None:
        """Return what is known of a prediction; None where it is unknown or has expired. Cost: one round
        trip."""
        [found] = await self.outcomes([prediction_id], deadline)
        return found

    async def outcomes(
        self, prediction_ids: Sequence[str], deadline: Deadline = NEVER
    ) -> list[Outcome | None]:
        """Return what is known of each prediction. Cost: one round trip, and all their bodies."""
        replies = await self._read(prediction_ids, ("state", "body"), deadline)
        return [_outcome(*reply) for reply in replies]

    async def pending(self, prediction_ids: Sequence[str], deadline: Deadline = NEVER) -> list[bool]:
        """Return for each prediction whether it is known and has not ended. Cost: one round trip, no
        bodies."""
        replies = await self._read(prediction_ids, ("state",), deadline)
        return [state == State.PENDING.value for (state,) in replies]

    async def _read(
        self, prediction_ids: Sequence[str], fields: Sequence[str], deadline: Deadline
    ) -> list[list[Any]]:
        nothing: list[Any] = [None] * len(fields)
        plausible = [one for one in prediction_ids if _is_plausible(one)]
        commands = [("HMGET", self._keys.record(one), *fields) for one in plausible]
        replies = dict(zip(plausible, await self._connection.execute_many(commands, deadline), strict=True))
        for reply in replies.values():
            if isinstance(reply, RedisReplyError):
                raise refused(reply) from reply
        return [replies.get(one, nothing) for one in prediction_ids]

    def _check(self, request: bytes, idempotency_key: str) -> None:
        most = self._settings.max_request_bytes
        if len(request) > most:
            raise InvalidRequest(
                f"request: has {len(request)} bytes; at most {most} can be submitted", field="request"
            )
        if len(idempotency_key.encode()) > MAX_KEY_BYTES:
            raise InvalidRequest(f"idempotency_key: at most {MAX_KEY_BYTES} bytes", field="idempotency_key")

    def _full(self, oldest: bytes) -> Overloaded:
        waited_s = self._clock.now_us() / 1e6 - int(oldest.partition(b"-")[0]) / 1e3
        return Overloaded(
            f"{self._settings.max_backlog} submitted predictions wait to be made, the most there may be",
            retry_after_s=min(max(waited_s * _DRAINED_RATIO, _SHORTEST_RETRY_S), _LONGEST_RETRY_S),
        )


def _first(told: str, digest: str) -> str:
    if not told.startswith(digest):
        raise InvalidRequest(
            "idempotency_key: was submitted before with another request", field="idempotency_key"
        )
    return told[len(digest) :]


def _outcome(state: bytes | None, body: bytes | None) -> Outcome | None:
    if state is None:
        return None
    try:
        return Outcome(State(state), body or b"")
    except ValueError as error:
        raise Corrupt("the record of a submitted prediction has no state that is known") from error


def _is_plausible(prediction_id: str) -> bool:
    """Return whether it can be an id of ours: anything else is unknown, and no part of a key's name."""
    return 0 < len(prediction_id) <= MAX_ID_LENGTH and prediction_id.isascii() and prediction_id.isalnum()
