"""Which keys the prepared application's rows have in the store, for whoever reads them raw."""

from __future__ import annotations

import asyncio

from benchmarks.prepared import Prepared
from benchmarks.workload import APP
from feature_store.keys import canonical_texts, row_keys
from feature_store.schema import feature_view
from registry.plan import Plan
from registry.registry import Registry
from registry.release import Release
from runtime.clock import SystemClock
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings


def view_keys(application: Prepared) -> dict[str, list[bytes]]:
    """Return each view's row keys, in the order of the workload's keys."""
    plan, release = asyncio.run(_live(application.store.url))
    keys: dict[str, list[bytes]] = {}
    for name in plan.application.views:
        view = feature_view(plan, name)
        texts = canonical_texts(view.key, [application.workload.keys])
        generation = release.views[name].generation
        keys[name] = row_keys(view.entity_id, view.view_id, generation, texts)
    return keys


async def _live(url: str) -> tuple[Plan, Release]:
    clock = SystemClock()
    connection = await RedisConnection.connect(url, RedisSettings(), clock)
    try:
        registry = Registry(connection, APP, clock)
        release = await registry.live()
        if release is None:
            raise RuntimeError(f"application {APP} is not applied")
        return await registry.plan(release.plan), release
    finally:
        await connection.aclose()
