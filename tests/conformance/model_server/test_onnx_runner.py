"""ONNX Runtime against the suite."""

from pathlib import Path

import pytest

from model_server.repository import ModelRepository
from model_server.runner import ModelRunner
from tests.conformance.model_server.model_runner import BIAS, WEIGHTS, ModelRunnerSuite
from tests.support.tiny_models import linear, published


class TestOnnxRunner(ModelRunnerSuite):
    @pytest.fixture
    def runner(self, tmp_path: Path) -> ModelRunner:
        published(tmp_path, "ranker", 3, linear(WEIGHTS, BIAS))
        return ModelRepository(tmp_path).load("ranker", 3)
