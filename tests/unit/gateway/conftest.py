from pathlib import Path

import pytest

from runtime.clock import ManualClock
from tests.support.compiled_application import CompiledApplication, compiled_application


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def application(tmp_path: Path, clock: ManualClock) -> CompiledApplication:
    """A release compiled over a store in memory, on a clock that stands still."""
    return compiled_application(tmp_path, clock)
