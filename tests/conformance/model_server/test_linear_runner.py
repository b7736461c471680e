"""The reference model against the suite."""

import numpy as np
import pytest

from model_server.linear_runner import LinearRunner
from model_server.runner import ModelRunner
from tests.conformance.model_server.model_runner import BIAS, WEIGHTS, ModelRunnerSuite


class TestLinearRunner(ModelRunnerSuite):
    @pytest.fixture
    def runner(self) -> ModelRunner:
        weights = {name: np.array(row, np.float32) for name, row in WEIGHTS.items()}
        return LinearRunner("ranker", "3", weights, BIAS)
