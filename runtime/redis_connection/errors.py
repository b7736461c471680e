"""What Redis answers instead of a result, and the kind of failure that each answer is.

RedisReplyError is what a caller may want to look at (NOSCRIPT, WRONGTYPE, a script's own error); the codes in
`_UNAVAILABLE` and `_NOT_USABLE` say something about the server, and reach callers as those kinds.
"""

from __future__ import annotations

from forebay.errors import Error, NotUsable, Unavailable


class RedisReplyError(Exception):
    """An error reply of the server. `code` is its first word: ERR, WRONGTYPE, NOSCRIPT."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]

    def translated(self) -> Exception:
        """Return the failure that the reply stands for if it is about the server, else the reply itself."""
        text = str(self)
        if text.startswith(_TOO_MANY_CLIENTS):
            return Unavailable("Redis refuses the connection: its limit of clients (maxclients) is reached")
        if self.code in _UNAVAILABLE:
            return Unavailable(_UNAVAILABLE[self.code])
        if self.code in _NOT_USABLE:
            return NotUsable(_NOT_USABLE[self.code])
        return self


class ProtocolError(Exception):
    """The peer sent bytes that are no reply: it isn't a Redis server, or the stream is out of step."""


def again(failure: Error) -> Error:
    """Return a fresh error that says the same: one raised in many tasks would collect their tracebacks."""
    return type(failure)(failure.message, field=failure.field, **failure.metadata)


_TOO_MANY_CLIENTS = "ERR max number of clients"

_UNAVAILABLE = {
    "LOADING": "Redis is loading its data",
    "BUSY": "Redis is busy with a script",
    "MASTERDOWN": "this Redis replica has lost its primary and may not serve stale data",
    "READONLY": "this Redis server is a replica now and takes no writes",
    "TRYAGAIN": "Redis is moving the keys of this command to another node",
    "CLUSTERDOWN": "the Redis cluster is down",
    "NOREPLICAS": "Redis takes no writes: too few replicas are connected",
}

_NOT_USABLE = {
    "NOAUTH": "Redis asks for a password, and redis.url has none",
    "WRONGPASS": "Redis refuses the user or the password of redis.url",
    "NOPERM": "the Redis user of redis.url may not run this command or touch this key",
    "OOM": "Redis has reached its maxmemory and takes no more data",
    "MISCONF": "Redis takes no writes because it can't persist to disk",
    "DENIED": "Redis runs in protected mode and takes no connections from other machines",
    "MOVED": "redis.url names one node of a Redis cluster: write it as redis+cluster://host:port",
    "ASK": "redis.url names one node of a Redis cluster: write it as redis+cluster://host:port",
    "CROSSSLOT": "Redis is a cluster, and the keys of this command are not in one slot: redis.url must begin "
    "with redis+cluster://",
}
