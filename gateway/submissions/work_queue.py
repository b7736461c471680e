"""A worker's side of the queue: takes entries, ends them, takes over what others left."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from gateway.submissions.keys import GROUP, KEPT_ENDINGS, Keys
from gateway.submissions.scripts import CLAIM, FINISH, FORGET_WORKERS, milliseconds, refused, run_script
from gateway.submissions.submission import Delivery, Ended
from runtime.redis_connection import RedisConnection, RedisReplyError
from runtime.submission_settings import SubmissionSettings

_UNHEARD_S = 3600.0
"""For so long a worker that holds nothing stays listed although it isn't heard of."""


class Verdict(Enum):
    """What became of a result."""

    FIRST = b"FIRST"  # it stands, and whoever waits hears of it
    LATER = b"LATER"  # another one stands
    GONE = b"GONE"  # nobody can ask for it any more


class WorkQueue:
    """One application's submitted predictions, as the worker `worker` sees them.

    `blocking` is a connection of its own for the one call that waits at the server: on a shared one everybody
    else's replies would wait behind it.

    Every method raises Unavailable where Redis or the group is gone, and NotUsable where Redis refuses.
    """

    def __init__(
        self,
        connection: RedisConnection,
        blocking: RedisConnection,
        app: str,
        worker: str,
        settings: SubmissionSettings,
    ) -> None:
        self._connection = connection
        self._blocking = blocking
        self._keys = Keys(app)
        self._worker = worker
        self._settings = settings

    async def join(self) -> None:
        """Make sure that there is a group to work in. One that is made anew takes the queue from its
        start."""
        try:
            await self._connection.execute("XGROUP", "CREATE", self._keys.work, GROUP, 0, "MKSTREAM")
        except RedisReplyError as error:
            if error.code != "BUSYGROUP":
                raise refused(error) from error

    async def leave(self) -> None:
        """Be forgotten, unless entries were left: those are claimed by others, by this worker's name."""
        await run_script(self._connection, FORGET_WORKERS, [self._keys.work], [GROUP, 0, self._worker])

    async def forget_others(self) -> None:
        """Forget workers that hold nothing and were not heard of for an hour."""
        await run_script(
            self._connection, FORGET_WORKERS, [self._keys.work], [GROUP, milliseconds(_UNHEARD_S), ""]
        )

    async def take(self, most: int, wait_s: float) -> list[Delivery]:
        """Return up to `most` entries that nobody took before; none where none came within `wait_s`.

        Cancellation: entries that were on their way are taken and come back by `claim`.
        """
        block = ("BLOCK", milliseconds(wait_s)) if wait_s > 0 else ()
        who = ("GROUP", GROUP, self._worker)
        try:
            reply = await self._blocking.execute(
                "XREADGROUP", *who, "COUNT", most, *block, "STREAMS", self._keys.work, ">"
            )
        except RedisReplyError as error:
            raise refused(error) from error
        entries = reply[0][1] if reply else []
        return [Delivery.of(entry, fields or (), 1) for entry, fields in entries]

    async def claim(self) -> Delivery | None:
        """Return an entry that a worker took over `claim_after_s` ago and didn't end; None where there is
        none."""
        idle_ms = milliseconds(self._settings.claim_after_s)
        reply = await run_script(self._connection, CLAIM, [self._keys.work], [GROUP, self._worker, idle_ms])
        return Delivery.of(*reply) if reply else None

    async def finish(self, ended: Ended) -> Verdict:
        """End a prediction: the first result stands, and its entry leaves the queue. May be called again."""
        submission = ended.delivery.submission
        prediction_id = "" if submission is None else submission.prediction_id
        record = self._keys.record(prediction_id)
        key_hash = "" if submission is None else submission.key_hash
        first = self._keys.first(key_hash) if key_hash else record
        keys = [record, self._keys.work, self._keys.endings, self._keys.dead, first]
        limits = (milliseconds(self._settings.keep_s), KEPT_ENDINGS, self._settings.kept_dead_letters)
        reply = await run_script(
            self._connection,
            FINISH,
            keys,
            [
                *(GROUP, ended.delivery.entry, prediction_id, ended.state.value, ended.body),
                *limits,
                *self._letter(ended),
            ],
        )
        return Verdict(reply)

    def _letter(self, ended: Ended) -> Sequence[bytes | str | int]:
        if not ended.dead:
            return ()
        submission = ended.delivery.submission
        facts = ("reason", ended.dead, "deliveries", ended.delivery.count, "worker", self._worker)
        return (*(submission.fields() if submission is not None else ()), *facts)
