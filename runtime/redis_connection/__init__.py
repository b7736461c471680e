"""The one way to talk to Redis or Valkey: a multiplexed connection of our own.

`connection` is what callers use. Behind it are `server`, one primary, which `sentinel` may find, with a
`replica`; or `cluster`, by the map of `topology`. `node` is one server of either, `link` one socket of it;
`redis_url` and `address` have the forms of the URL, `errors` what the server may answer instead of a result.
"""

from runtime.redis_connection.connection import RedisConnection
from runtime.redis_connection.errors import RedisReplyError
from runtime.redis_connection.script import RedisScript

__all__ = ["RedisConnection", "RedisReplyError", "RedisScript"]
