"""A Lua script and the name by which the server caches it."""

from __future__ import annotations

import hashlib


class RedisScript:
    """A script's text and its `sha`, which EVALSHA takes."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
