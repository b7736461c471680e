"""`forebay worker` for operators: the queue's status, dead letters, requeueing; in this process, on a real
server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from forebay.errors import Internal
from forebay.v1 import prediction_pb2 as pb

from cli.main import run
from gateway.submissions.messages import request_bytes
from gateway.submissions.submission import Submission
from runtime.clock import SystemClock
from runtime.embedded_store import TemporaryStore
from runtime.redis_connection import RedisConnection
from runtime.redis_settings import RedisSettings
from tests.support.submission_queue import QueueUnderTest, queue_under_test
from tests.support.tiny_application import write_tiny_application

REQUEST = request_bytes(pb.PredictRequest(pipeline="items_for_user"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        file = write_tiny_application(tmp_path_factory.mktemp("worker") / "app")
        assert run(["apply", str(file), "--redis", store.url]) == 0
        yield store


@pytest.fixture(autouse=True)
def environment(store: TemporaryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOREBAY_REDIS_URL", store.url)
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[QueueUnderTest]:
    connection = await RedisConnection.connect(url, RedisSettings(), SystemClock())
    async with queue_under_test(url, connection) as queue:
        yield queue
    await connection.aclose()


async def give_up(url: str, count: int) -> list[str]:
    """Submit predictions and make dead letters of them."""

    async def make(submission: Submission) -> bytes:
        raise Internal("a bug")

    async with opened(url) as queue:
        ids = await queue.submit(*[REQUEST] * count)
        async with queue.working(make):
            await queue.ended(ids)
    return ids


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["worker", *arguments]) == 0
    return capsys.readouterr().out


def test_status_tells_of_a_queue_that_nobody_has_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no worker: run `forebay worker`" in printed(capsys, "status")
    assert json.loads(printed(capsys, "status", "--json")) == {
        "waiting": 0,
        "taken": 0,
        "oldest_age_s": 0.0,
        "dead_letters": 0,
        "workers": [],
    }


def test_dead_letters_are_listed_and_requeued(
    store: TemporaryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "dead-letters", "list") == "no dead letters\n"
    ids = asyncio.run(give_up(store.url, 3))
    assert ids[0] in printed(capsys, "dead-letters", "list")
    letters = json.loads(printed(capsys, "dead-letters", "list", "--json"))
    assert sorted(letter["prediction_id"] for letter in letters) == sorted(ids)
    assert {letter["pipeline"] for letter in letters} == {"items_for_user"}
    assert {letter["reason"] for letter in letters} == {"INTERNAL: a bug"}
    assert printed(capsys, "dead-letters", "requeue", letters[0]["id"]) == "requeued 1\n"
    assert printed(capsys, "dead-letters", "requeue", "--all") == "requeued 2\n"
    status = json.loads(printed(capsys, "status", "--json"))
    assert (status["waiting"], status["dead_letters"]) == (3, 0)
    assert status["oldest_age_s"] >= 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dead-letters", "requeue"], "name the letters, or give --all"),
        (["dead-letters", "requeue", "1-1", "--all"], "name the letters, or give --all"),
        (["dead-letters", "requeue", "1-1"], "no dead letter '1-1'"),
        (["--app", "tiny", "status"], "give the options after the subcommand"),
    ],
)
def test_bad_usage_exits_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_application_that_is_not_applied_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "status", "--app", "nobody"]) == 1
    assert "no application nobody is applied" in capsys.readouterr().err
