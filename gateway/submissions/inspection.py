"""What an operator sees of the queue, and may do to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import replace as replaced
from typing import Any

from forebay.errors import Corrupt, NotFound, NotUsable, Overloaded

from gateway.submissions.keys import GROUP, Keys
from gateway.submissions.messages import request_of
from gateway.submissions.scripts import REQUEUE, milliseconds, refused, run_script
from gateway.submissions.submission import Submission
from runtime.clock import Clock
from runtime.redis_connection import RedisConnection, RedisReplyError
from runtime.submission_settings import SubmissionSettings


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker of the group: how many entries it holds, and when it was last heard of."""

    name: str
    taken: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How the queue is. `waiting` were given to no worker yet, `taken` were; the oldest of both is
    `oldest_age_s` old."""

    waiting: int
    taken: int
    oldest_age_s: float
    dead_letters: int
    workers: tuple[WorkerStatus, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A prediction that was given up. Prediction and pipeline are empty where the entry couldn't be read."""

    id: str
    prediction_id: str
    pipeline: str
    at_us: int
    deliveries: int
    worker: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class Inspection:
    """One application's queue. Every method raises Unavailable where Redis is gone."""

    def __init__(
        self, connection: RedisConnection, app: str, settings: SubmissionSettings, clock: Clock
    ) -> None:
        self._connection = connection
        self._keys = Keys(app)
        self._settings = settings
        self._clock = clock

    async def status(self) -> QueueStatus:
        """Return how the queue is. Cost: one round trip."""
        work = self._keys.work
        replies = await self._connection.execute_many(
            [
                ("XLEN", work),
                ("XRANGE", work, "-", "+", "COUNT", 1),
                ("XLEN", self._keys.dead),
                ("XPENDING", work, GROUP),
                ("XINFO", "CONSUMERS", work, GROUP),
            ]
        )
        length, oldest, dead, *of_group = replies
        for reply in (length, oldest, dead):
            if isinstance(reply, RedisReplyError):
                raise refused(reply) from reply
        taken = 0
        workers: tuple[WorkerStatus, ...] = ()
        if not any(
            isinstance(reply, RedisReplyError) for reply in of_group
        ):  # no group before the first worker
            pending, consumers = of_group
            taken, workers = pending[0], tuple(_worker(facts) for facts in consumers)
        age_s = self._clock.now_us() / 1e6 - _at_us(oldest[0][0]) / 1e6 if oldest else 0.0
        return QueueStatus(max(0, length - taken), taken, max(0.0, round(age_s, 3)), dead, workers)

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters, newest first."""
        entries = await self._connection.execute("XREVRANGE", self._keys.dead, "+", "-", "COUNT", limit)
        return [_letter(entry, _fields(flat)) for entry, flat in entries]

    async def requeue(self, letter: str) -> int:
        """Put a dead letter back into the queue; return 1, or 0 where somebody else just did.

        Raises: NotFound; NotUsable where the letter can't be read; Overloaded while the queue is full: the
        letter stays.
        """
        try:
            entries = await self._connection.execute("XRANGE", self._keys.dead, letter, letter)
        except RedisReplyError as error:
            if "stream ID" not in str(error):
                raise refused(error) from error
            raise NotFound(f"no dead letter {letter!r}") from error
        if not entries:
            raise NotFound(f"no dead letter {letter!r}")
        try:
            submission = Submission.of(entries[0][1])
        except Corrupt as error:
            raise NotUsable(f"dead letter {letter} holds no prediction that can be read") from error
        submission = replaced(submission, submitted_us=self._clock.now_us())
        record = self._keys.record(submission.prediction_id)
        first = self._keys.first(submission.key_hash) if submission.key_hash else record
        pending_ms = milliseconds(self._settings.pending_s + self._settings.keep_s)
        keys = [self._keys.dead, self._keys.work, record, first]
        most = self._settings.max_backlog
        requeued = int(
            await run_script(
                self._connection,
                REQUEUE,
                keys,
                [letter, pending_ms, most, submission.prediction_id, *submission.fields()],
            )
        )
        if requeued < 0:
            raise Overloaded(
                f"{most} submitted predictions wait to be made, the most there may be: "
                f"dead letter {letter} stays"
            )
        return requeued


def _worker(facts: list[Any]) -> WorkerStatus:
    found = _fields(facts)
    return WorkerStatus(found[b"name"].decode(), found[b"pending"], found[b"idle"] / 1e3)


def _letter(entry: bytes, fields: Mapping[bytes, bytes]) -> DeadLetter:
    return DeadLetter(
        id=entry.decode(),
        prediction_id=fields.get(b"id", b"").decode(),
        pipeline=_pipeline(fields.get(b"request", b"")),
        at_us=_at_us(entry),
        deliveries=int(fields[b"deliveries"]),
        worker=fields[b"worker"].decode(),
        reason=fields[b"reason"].decode(),
    )


def _pipeline(request: bytes) -> str:
    try:
        return request_of(request).pipeline
    except Corrupt:
        return ""


def _at_us(entry: bytes) -> int:
    """Return when an entry was made: Redis names it by the time."""
    return int(entry.partition(b"-")[0]) * 1000


def _fields(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
