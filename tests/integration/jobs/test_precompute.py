"""Precomputing that does not end well: what is live stays live, whatever happens, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from forebay.errors import Conflict, Unavailable

from feature_store.redis_store import RedisStore
from jobs.precompute import Precompute, PrecomputeOutcome
from jobs.precomputed_versions import PrecomputedVersions
from jobs.progress import Progress, unheard
from registry.precomputed import PrecomputedFor
from registry.registry import Registry
from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from runtime.settings import Settings
from tests.support.precomputed_application import (
    BY_AGE,
    Commands,
    stored_keys,
    write_precomputed_application,
)

FEW = PrecomputedFor(sql=BY_AGE, top=5)
MANY = PrecomputedFor(
    sql=BY_AGE, combinations=("hour=" + ",".join(str(number / 10) for number in range(150)),)
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The application applied, refreshed and indexed: its directory, and its store's URL."""
    directory = tmp_path_factory.mktemp("precompute")
    file = write_precomputed_application(directory / "app")
    with TemporaryStore() as store:
        commands = Commands(directory, store.url, None)
        for command in (("apply", str(file)), ("refresh", "run"), ("index", "build", "items")):
            assert commands(*command).returncode == 0
        yield directory, store.url


class Job:
    """Runs the job on the prepared application, and looks at what it leaves."""

    def __init__(self, directory: Path, url: str, connection: RedisConnection) -> None:
        self.url = url
        self.connection = connection
        self.registry = Registry(connection, "tiny", SystemClock())
        store = RedisStore(connection)
        self.versions = PrecomputedVersions(self.registry, connection, store, "tester")
        self.settings = Settings(app="tiny", artifacts=directory / ".forebay" / "artifacts")

    async def run(
        self, options: PrecomputedFor, progress: Progress = unheard, pipeline: str = "first_items"
    ) -> PrecomputeOutcome:
        return await Precompute(self.versions, self.settings, SystemClock(), progress).run(pipeline, options)

    async def live_version(self) -> int:
        live = await self.registry.live()
        assert live is not None
        return live.precomputed["first_items"].version

    def stored_versions(self) -> set[int]:
        return {int(key.rsplit(":", 1)[1]) for key in stored_keys(self.url)}


@pytest.fixture
async def job(prepared: tuple[Path, str]) -> AsyncIterator[Job]:
    directory, url = prepared
    connection = await RedisConnection.connect(url, RedisSettings(), SystemClock())
    job = Job(directory, url, connection)
    yield job
    await job.versions.drop("first_items")
    await connection.aclose()


async def test_failure_half_way_removes_what_was_written(job: Job) -> None:
    first = await job.run(FEW)

    def fail(subject: str, stage: str, done: int, total: int) -> None:
        if done >= 2000:
            raise Unavailable("the terminal is gone")

    with pytest.raises(Unavailable):
        await job.run(MANY, fail)
    assert await job.live_version() == first.entry.version
    assert job.stored_versions() == {first.entry.version}
    [record, *_] = await job.registry.batches()
    assert (record.kind, record.status, record.error) == ("precompute", "failed", "the terminal is gone")


async def test_run_that_is_stopped_removes_what_was_written(job: Job) -> None:
    first = await job.run(FEW)
    halfway = asyncio.Event()

    def note(subject: str, stage: str, done: int, total: int) -> None:
        if done >= 1000:
            halfway.set()

    running = asyncio.create_task(job.run(MANY, note))
    await halfway.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await job.live_version() == first.entry.version
    assert job.stored_versions() == {first.entry.version}


async def test_older_of_two_runs_at_once_is_dropped(job: Job) -> None:
    started = asyncio.Event()

    def note(subject: str, stage: str, done: int, total: int) -> None:
        if done >= 1000:
            started.set()

    slow = asyncio.create_task(job.run(MANY, note))
    await started.wait()
    newer = await job.run(FEW)
    with pytest.raises(Conflict, match="newer answers of pipeline first_items"):
        await slow
    assert await job.live_version() == newer.entry.version
    assert job.stored_versions() == {newer.entry.version}


async def test_release_that_changes_meanwhile_carries_the_answers(job: Job) -> None:
    async def publish() -> None:
        await job.registry.publish(lambda release: release.with_index("items", "1"))

    before = await job.registry.live()
    assert before is not None
    changed: list[asyncio.Task[None]] = []

    def note(subject: str, stage: str, done: int, total: int) -> None:
        if stage == "compute" and done and not changed:
            changed.append(asyncio.create_task(publish()))

    outcome = await job.run(MANY, note)
    await changed[0]
    assert outcome.entry.made_by == before.number
    assert await job.live_version() == outcome.entry.version


async def test_every_answer_of_many_is_stored_and_listed(job: Job) -> None:
    outcome = await job.run(MANY)
    assert (outcome.entry.count, outcome.entry.entity_count) == (3000, 20)
    keys = stored_keys(job.url)
    assert len(keys) == 3000
    lists = job.versions.lists("first_items")
    assert await lists.count(outcome.entry.version) == 3000
    assert outcome.tally.size_bytes > 0
