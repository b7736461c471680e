from collections.abc import AsyncIterator

import pytest

from runtime.redis_connection import RedisConnection
from tests.support.submission_queue import QueueUnderTest, queue_under_test


@pytest.fixture
async def submissions(redis_url: str, connection: RedisConnection) -> AsyncIterator[QueueUnderTest]:
    """An empty queue of submitted predictions on a real server."""
    async with queue_under_test(redis_url, connection) as queue:
        yield queue
