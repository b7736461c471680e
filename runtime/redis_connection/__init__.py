"""The one way to talk to Redis or Valkey: a multiplexed connection of our own.

`connection` is what callers use, `link` one socket of it, `address` the forms of the URL, `errors` what the
server may answer instead of a result.
"""

from runtime.redis_connection.connection import RedisConnection
from runtime.redis_connection.errors import RedisReplyError
from runtime.redis_connection.script import RedisScript

__all__ = ["RedisConnection", "RedisReplyError", "RedisScript"]
