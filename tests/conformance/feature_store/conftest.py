import pytest

pytest.register_assert_rewrite("tests.conformance.feature_store.online_store")
