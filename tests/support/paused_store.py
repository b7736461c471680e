"""A store that answers nobody for a while, as one does that swaps, or is stopped by its machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis


@contextmanager
def paused(redis_url: str) -> Iterator[None]:
    """Stop the server at this URL until the end of the block; its connections stay open."""
    with Redis.from_url(redis_url) as redis:
        pid: int = redis.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
