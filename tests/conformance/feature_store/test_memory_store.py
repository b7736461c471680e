from collections.abc import AsyncIterator

import pytest
from forebay.errors import Unavailable

from feature_store.memory_store import MemoryStore
from feature_store.store import OnlineStore
from tests.conformance.feature_store.online_store import OnlineStoreSuite


class TestMemoryStore(OnlineStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[OnlineStore]:
        store = MemoryStore()
        yield store
        await store.aclose()


async def test_calls_fail_when_the_store_is_closed() -> None:
    store = MemoryStore()
    await store.aclose()
    with pytest.raises(Unavailable):
        await store.get_many([b"a"])
