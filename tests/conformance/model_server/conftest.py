"""Lets the suite's assertions explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.conformance.model_server.model_runner")
