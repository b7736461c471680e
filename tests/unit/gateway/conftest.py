from pathlib import Path

import pytest

from feature_store.memory_store import MemoryStore
from gateway.plan import CompiledRelease
from runtime.clock import ManualClock
from tests.support.compiled_application import CompiledApplication, compiled_application
from tests.support.pipeline_application import PipelineApplication, pipeline_application


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def application(tmp_path: Path, clock: ManualClock) -> CompiledApplication:
    """A release compiled over a store in memory, on a clock that stands still."""
    return compiled_application(tmp_path, clock)


@pytest.fixture(scope="session")
def release_of_pipelines(tmp_path_factory: pytest.TempPathFactory) -> CompiledRelease:
    """A release of pipelines of every kind."""
    directory = tmp_path_factory.mktemp("pipelines")
    where = "{item_view.price: {gte: 2, lt: 5}, item_view.kind: {in: [book, toy]}, user_view.age: {gte: 18}}"
    return pipeline_application(directory, ManualClock(), where=where).release


@pytest.fixture
def pipelines(release_of_pipelines: CompiledRelease, clock: ManualClock) -> PipelineApplication:
    """Pipelines of every kind over a store of their own."""
    return PipelineApplication(MemoryStore(clock), clock, release_of_pipelines, clock.now_us())
