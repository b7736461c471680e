"""What the registry, the jobs and the submissions keep of an application lies on one node of a cluster: their
commands and scripts are refused nowhere for keys in several slots."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.submissions.keys import Keys as SubmissionKeys
from gateway.submissions.submission_queue import SubmissionQueue
from gateway.submissions.work_queue import WorkQueue
from jobs.generation_keys import GenerationKeys, packed
from jobs.headroom import check_headroom
from registry.application_file import load_application_file
from registry.records import Keys
from registry.registry import Registry
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection
from runtime.redis_connection.slots import slot_of
from runtime.redis_settings import RedisSettings
from runtime.submission_settings import SubmissionSettings
from tests.support.store_cluster import StoreCluster
from tests.support.tiny_application import write_tiny_application


async def test_applications_are_applied_and_released_when_the_registry_is_on_a_cluster(
    cluster_connection: RedisConnection, tmp_path: Path
) -> None:
    clock = SystemClock()
    registry = Registry(cluster_connection, "tiny", clock)
    loaded = load_application_file(write_tiny_application(tmp_path / "app"))
    plan, first = await registry.apply(loaded.application, loaded.root)
    batch = await registry.begin_batch("user_profile", "item_profile")
    assert await registry.hold_batch(batch.id, "", "me", 60)
    release = await registry.publish(
        lambda live: live.with_view("user_profile", batch.generations["user_profile"], as_of_us=1)
    )
    assert (release.parent, [one.number for one in await registry.releases()]) == (first.number, [2, 1])
    view_id = plan.ids.views["user_profile"]
    lists = GenerationKeys(cluster_connection, "tiny", view_id)
    await lists.add(1, packed(["1", "2"]))
    assert await registry.stored_generations([view_id, 999]) == [[1], []]
    assert [texts async for texts in lists.chunks(1)] == [["1", "2"]]
    await lists.forget(1)
    await check_headroom(cluster_connection, 1 << 40, "rows")


@pytest.mark.parametrize("app", ["tiny", "other"])
def test_keys_of_one_application_share_a_slot(app: str) -> None:
    keys, submissions = Keys(app), SubmissionKeys(app)
    names = [keys.release_pointer, keys.release(7), keys.plan(1), keys.holder("b1"), keys.batch_records]
    names += [keys.stored_generations(3), keys.index_versions, submissions.work, submissions.record("x")]
    assert {slot_of(name.encode()) for name in names} == {slot_of(app.encode())}


async def test_scripts_of_submissions_run_when_they_are_on_a_cluster(
    cluster_connection: RedisConnection, shared_cluster: StoreCluster
) -> None:
    clock = SystemClock()
    reading = await RedisConnection.connect(shared_cluster.url, RedisSettings(), clock)
    settings = SubmissionSettings()
    queue = SubmissionQueue(cluster_connection, "tiny", settings, clock)
    work = WorkQueue(cluster_connection, reading, "tiny", "w1", settings)
    try:
        await work.join()
        prediction_id = await queue.submit(b"request", release=1, trace_id="t", idempotency_key="once")
        assert (
            await queue.submit(b"request", release=1, trace_id="t", idempotency_key="once") == prediction_id
        )
        [delivery] = await work.take(1, 5.0)
        assert delivery.submission is not None
        assert delivery.submission.prediction_id == prediction_id
    finally:
        await reading.aclose()
