"""Lets the suite's assertions explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.conformance.ann_index.vector_index")
