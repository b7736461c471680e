"""RedisStore is an OnlineStore, whatever the size of its chunks, on one server and on a cluster."""

from collections.abc import AsyncIterator

import pytest

from feature_store.redis_store import RedisStore
from feature_store.store import OnlineStore
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from tests.conformance.feature_store.online_store import OnlineStoreSuite


class TestRedisStore(OnlineStoreSuite):
    @pytest.fixture
    async def store(self, connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        store = RedisStore(connection)
        yield store
        await store.aclose()


class TestRedisStoreInSmallChunks(OnlineStoreSuite):
    @pytest.fixture
    async def store(self, connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        settings = FeatureStoreSettings(read_chunk_rows=3, write_chunk_rows=3, load_chunk_rows=3)
        store = RedisStore(connection, settings)
        yield store
        await store.aclose()


class TestRedisStoreOnCluster(OnlineStoreSuite):
    @pytest.fixture
    async def store(self, cluster_connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        store = RedisStore(cluster_connection, FeatureStoreSettings(write_chunk_rows=7))
        yield store
        await store.aclose()
