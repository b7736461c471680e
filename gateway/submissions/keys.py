"""How submitted predictions lie in Redis, by application:

    forebay:{app}:submissions           stream: an entry per prediction that has not ended; group `workers`
    forebay:{app}:submission:ID         hash: `state` (PENDING, DONE, FAILED) and, once ended, `body`;
                                        expires
    forebay:{app}:submission_key:HASH   string: the request's digest and the id that an idempotency key
                                        stands for; expires with that prediction's record
    forebay:{app}:submission_endings    stream, capped: the id of each prediction as it ended
    forebay:{app}:submission_dead       stream, capped: the entries that were given up, with the reason

The braces are a cluster's hash tag: what one script touches lies on one node. An entry has the fields `id`,
`request` (a serialised PredictRequest), `release` (the one that it was checked against), `trace`, `key` (the
HASH of its idempotency key, or empty) and `at` (when it was accepted, microseconds UTC).
"""

from __future__ import annotations

import hashlib

GROUP = "workers"
"""The consumer group: every entry goes to one of its workers."""

KEPT_ENDINGS = 10_000
"""About how many endings are kept for gateways that lag; who misses one looks the prediction up in time."""


class Keys:
    """The keys of one application's submitted predictions."""

    def __init__(self, app: str) -> None:
        self._prefix = f"forebay:{{{app}}}:"
        self.work = self._prefix + "submissions"
        self.endings = self._prefix + "submission_endings"
        self.dead = self._prefix + "submission_dead"

    def record(self, prediction_id: str) -> str:
        """Return the key of a prediction's record."""
        return f"{self._prefix}submission:{prediction_id}"

    def first(self, key_hash: str) -> str:
        """Return the key that says which prediction an idempotency key stands for."""
        return f"{self._prefix}submission_key:{key_hash}"


def hash_of(text: str | bytes) -> str:
    """Return a name for `text` of 32 hexadecimal digits, whatever is in it and however long it is."""
    raw = text.encode() if isinstance(text, str) else text
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
