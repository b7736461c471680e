"""The demo from nothing to recommendations, and what it leaves for `forebay serve`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.embedded_store import TemporaryStore
from tests.support import served_application
from tests.support.served_application import forebay_process, served

STEPS = ("admit", "recall", "hydrate", "retrieve", "hydrate_candidates", "assemble", "predict", "select")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_demo_shows_titles_quality_steps_and_times(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_application, "START_S", 300)
    ended = forebay_process(directory, "", "demo")
    assert ended.returncode == 0, ended.stderr
    users = re.findall(r"user \d+ likes .*\n((?: +\d+\. .+\n){10})", ended.stdout)
    assert len(users) == 2
    assert users[0] != users[1]
    assert "NDCG@10" in ended.stdout
    assert "The ranker beats popularity" in ended.stdout
    assert re.search(r"p50 [\d.]+ ms, p99 [\d.]+ ms", ended.stdout)
    drawn = re.findall(r"^ (\w+) .*█", ended.stdout, re.MULTILINE)
    assert tuple(drawn) == STEPS


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_application_is_served_when_it_was_prepared_only(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_application, "START_S", 300)
    with TemporaryStore() as store:
        assert "prepared: " in forebay_process(directory, store.url, "demo", "--prepare-only").stdout
        again = forebay_process(directory, store.url, "demo", "--prepare-only")
        assert again.stdout == "the application movies is prepared already\n"
        with served(directory, store.url, "movies") as server:
            assert server.gateway
