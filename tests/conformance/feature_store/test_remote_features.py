"""FeatureService over a real loopback server, by the SDK, says what the store under it does: the part of
OnlineStore's contract that the wire has, on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import forebay.aio
import numpy as np
import pytest
from forebay import Outcome, Status
from forebay.deadline import Deadline
from forebay.errors import Unavailable

from feature_store.cached_store import CachedStore
from feature_store.memory_store import MemoryStore
from feature_store.redis_store import RedisStore
from feature_store.store import OnlineStore
from gateway.admission import Admission
from gateway.catalog import ViewCatalog
from gateway.deletions import EntityDeletions
from gateway.features import FeatureReads
from gateway.plan import CompiledRelease
from gateway.servicers.features import FeatureServicer
from gateway.writes import FeatureWrites
from runtime.admission_settings import AdmissionSettings
from runtime.clock import ManualClock, SystemClock
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection
from tests.support.compiled_application import compiled_application
from tests.support.echo_services import FEATURES, serving

APPLIED, OLDER = Outcome.APPLIED, Outcome.OLDER
PRESENT, DEFAULTED = Status.PRESENT, Status.DEFAULTED
NOW_US = SystemClock().now_us()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> CompiledRelease:
    """A release whose view `now` is written in place."""
    return compiled_application(tmp_path_factory.mktemp("remote"), ManualClock(now_us=NOW_US)).release


class FeatureServiceSuite:
    """Subclass it, and define a fixture `store` that yields an empty store and closes it afterwards."""

    @pytest.fixture
    async def client(self, store: OnlineStore, release: CompiledRelease) -> AsyncIterator[forebay.aio.Client]:
        async with (
            serving((FEATURES, servicer(store, release))) as address,
            forebay.aio.Client(address, timeout_s=10.0) as client,
        ):
            yield client

    async def test_rows_come_in_order_when_some_are_absent_or_repeated(
        self, client: forebay.aio.Client
    ) -> None:
        assert list(await client.write("now", user_id=[1, 2], clicks=[10.0, 20.0])) == [APPLIED] * 2
        table = await client.features(["now.clicks"], user_id=[2, 404, 1, 2])
        assert table.values("now.clicks").tolist() == [20.0, 3.0, 10.0, 20.0]
        assert table.statuses("now.clicks").tolist() == [PRESENT, DEFAULTED, PRESENT, PRESENT]

    async def test_the_newest_stays_when_writes_come_in_any_order(self, client: forebay.aio.Client) -> None:
        for ago_us, clicks, outcome in [
            (5, 5.0, APPLIED),
            (9, 9.0, OLDER),
            (1, 1.0, APPLIED),
            (5, 6.0, OLDER),
        ]:
            written = await client.write("now", user_id=[7], clicks=[clicks], event_time=times([ago_us]))
            assert list(written) == [outcome]
        assert await clicks_of(client, 7) == [1.0]

    async def test_rows_of_one_call_are_taken_in_order_when_they_share_a_key(
        self, client: forebay.aio.Client
    ) -> None:
        written = await client.write(
            "now", user_id=[7, 8, 7, 7], clicks=[1.0, 2.0, 3.0, 4.0], event_time=times([5, 5, 9, 5])
        )
        assert list(written) == [APPLIED, APPLIED, OLDER, APPLIED]
        assert await clicks_of(client, 7, 8) == [4.0, 2.0]

    async def test_late_writes_bring_nothing_back_when_the_entity_was_deleted(
        self, client: forebay.aio.Client
    ) -> None:
        await client.write("now", user_id=[1, 2], clicks=[1.0, 2.0], event_time=times([5, 5]))
        assert list(await client.delete("user", user_id=[1, 404])) == [APPLIED] * 2
        assert list(await client.write("now", user_id=[1], clicks=[9.0], event_time=times([1]))) == [OLDER]
        assert await clicks_of(client, 1, 2) == [3.0, 2.0]
        later = np.array([SystemClock().now_us() + 1_000_000], "datetime64[us]")
        assert list(await client.write("now", user_id=[1], clicks=[9.0], event_time=later)) == [APPLIED]
        assert await clicks_of(client, 1) == [9.0]

    async def test_thousands_of_rows_are_answered_in_order(self, client: forebay.aio.Client) -> None:
        users = list(range(2_000))
        assert set(await client.write("now", user_id=users, clicks=np.arange(2_000.0))) == {APPLIED}
        assert await clicks_of(client, *users[::-1]) == users[::-1]

    async def test_calls_are_unavailable_when_the_store_is_closed(
        self, client: forebay.aio.Client, store: OnlineStore
    ) -> None:
        await store.aclose()
        with pytest.raises(Unavailable):
            await client.features(["now.clicks"], user_id=[1])


def servicer(store: OnlineStore, release: CompiledRelease) -> FeatureServicer:
    clock = SystemClock()
    live: Any = SimpleNamespace(current=release)
    deletions = EntityDeletions(store, clock, generations, note, 3600.0, lambda _view, _texts: None)
    catalog = ViewCatalog(records, clock)
    admission = Admission(AdmissionSettings(), clock)
    reads, writes = FeatureReads(store, clock), FeatureWrites(store, clock)
    return FeatureServicer(live, reads, writes, deletions, catalog, admission)


async def generations(view_ids: Sequence[int], _deadline: Deadline) -> list[list[int]]:
    return [[] for _ in view_ids]


async def note(
    _view_id: int, _generations: Sequence[int], _texts: Sequence[str], _deadline: Deadline
) -> None:
    """Nothing is being refreshed here."""


async def records(_ids: Sequence[str]) -> dict[str, Any]:
    return {}


def times(ago_us: list[int]) -> Any:
    """Return event times before the start of the tests."""
    return np.array([NOW_US - ago for ago in ago_us], "datetime64[us]")


async def clicks_of(client: forebay.aio.Client, *user_ids: int) -> list[float]:
    table = await client.features(["now.clicks"], user_id=list(user_ids))
    return list(table.values("now.clicks").tolist())


class TestOverMemoryStore(FeatureServiceSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[OnlineStore]:
        store = MemoryStore()
        yield store
        await store.aclose()


@pytest.mark.slow
class TestOverRedisStore(FeatureServiceSuite):
    @pytest.fixture
    async def store(self, connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        store = RedisStore(connection)
        yield store
        await store.aclose()


class TestOverCachedCluster(FeatureServiceSuite):
    @pytest.fixture
    async def store(self, cluster_connection: RedisConnection) -> AsyncIterator[OnlineStore]:
        store = CachedStore(RedisStore(cluster_connection), FeatureStoreSettings(), SystemClock())
        yield store
        await store.aclose()
