"""CachedStore is an OnlineStore over any other, its rows taken by `get_near`; what it keeps is young enough
for a suite that looks at what other writers and time have done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from forebay.deadline import NEVER, Deadline

from feature_store.cached_store import CachedStore
from feature_store.memory_store import MemoryStore
from feature_store.redis_store import RedisStore
from feature_store.store import OnlineStore
from runtime.clock import SystemClock
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from tests.conformance.feature_store.online_store import OnlineStoreSuite

SETTINGS = FeatureStoreSettings()


class NearStore(CachedStore):
    """Takes every row from what is at hand, if it was read in the last half second."""

    async def get_many(self, keys: Sequence[bytes], deadline: Deadline = NEVER) -> list[bytes | None]:
        [rows] = await self.get_near([(keys, 0.5)], deadline)
        return rows


class TestCachedMemoryStore(OnlineStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[OnlineStore]:
        store = NearStore(MemoryStore(), SETTINGS, SystemClock())
        yield store
        await store.aclose()


@pytest.mark.slow
class TestCachedRedisStore(OnlineStoreSuite):
    @pytest.fixture
    async def store(self, connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        store = NearStore(RedisStore(connection), SETTINGS, SystemClock())
        yield store
        await store.aclose()


class TestCachedRedisStoreOnCluster(OnlineStoreSuite):
    @pytest.fixture
    async def store(self, cluster_connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        store = NearStore(RedisStore(cluster_connection), SETTINGS, SystemClock())
        yield store
        await store.aclose()
