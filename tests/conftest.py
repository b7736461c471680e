"""Fixtures for every kind of test."""

pytest_plugins = [
    "tests.support.examples",
    "tests.support.quick_selection",
    "tests.support.short_reports",
    "tests.support.store_server",
    "tests.support.store_cluster",
]
