"""`forebay serve` as one process and as several: its line, its ports, its end; `forebay trace` beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forebay
import pytest

from runtime.embedded_store import TemporaryStore
from tests.support.served_application import ServedApplication, environment, prepare, served
from tests.support.tiny_application import write_tiny_application


@pytest.fixture(scope="module")
def store() -> Iterator[TemporaryStore]:
    with TemporaryStore() as store:
        yield store


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, store: TemporaryStore) -> Path:
    directory = tmp_path_factory.mktemp("served")
    file = write_tiny_application(directory / "app")
    prepare(directory, store.url, file, ("items",))
    return directory


@pytest.fixture(scope="module")
def server(directory: Path, store: TemporaryStore) -> Iterator[ServedApplication]:
    with served(directory, store.url, "tiny") as server:
        yield server


def predict(address: str) -> forebay.Answer:
    with forebay.Client(address, timeout_s=10) as client:
        return client.predict("items_for_user", user_id=1)


def test_trace_draws_the_request_of_that_prediction_id(server: ServedApplication) -> None:
    answer, _ = predict(server.gateway), predict(server.gateway)
    drawn = server.forebay("trace", answer.provenance.prediction_id, "--admin", server.admin)
    assert drawn.returncode == 0
    assert answer.provenance.prediction_id in drawn.stdout
    steps = re.findall(r"^ (\w+) +[\d.]+ [um]?s .*█", drawn.stdout, re.MULTILINE)
    assert steps == [
        "admit",
        "recall",
        "hydrate",
        "retrieve",
        "hydrate_candidates",
        "assemble",
        "predict",
        "select",
    ]


def test_trace_finds_a_search_by_the_id_that_its_answer_carries(server: ServedApplication) -> None:
    with forebay.Client(server.gateway, timeout_s=10) as client:
        found = client.similar("items", item_id=110)
    drawn = server.forebay("trace", found.provenance.prediction_id, "--admin", server.admin)
    assert drawn.returncode == 0
    assert "SimilarityService/FindSimilar" in drawn.stdout


def test_trace_lists_requests_for_people_and_programs(server: ServedApplication) -> None:
    answer = predict(server.gateway)
    listed = server.forebay("trace", "--list", "--admin", server.admin)
    assert answer.provenance.prediction_id in listed.stdout
    [latest] = json.loads(server.forebay("trace", "--json", "--admin", server.admin).stdout)
    assert latest["provenance"]["prediction_id"] == answer.provenance.prediction_id
    assert latest["status"] == "OK"


def test_trace_says_so_when_the_id_is_unknown(server: ServedApplication) -> None:
    ended = server.forebay("trace", "nothing", "--admin", server.admin)
    assert ended.returncode == 2
    assert "remembers no request of that id" in ended.stderr


@pytest.mark.parametrize("port", ["gateway", "admin"])
def test_port_in_use_is_an_error_and_an_exit_code(server: ServedApplication, port: str) -> None:
    free = "127.0.0.1:0"
    bind, admin = (server.gateway, free) if port == "gateway" else (free, server.admin)
    ended = server.forebay("serve", "--app", "tiny", "--bind", bind, "--admin", admin)
    assert ended.returncode == 1
    assert f"can't bind {getattr(server, port)}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_processes_share_a_port_and_end_together(directory: Path, store: TemporaryStore) -> None:
    with served(directory, store.url, "tiny", "--processes", "2") as server:
        assert not server.gateway.endswith(":0")
        assert all(len(predict(server.gateway)) == 5 for _ in range(4))


@contextmanager
def two_processes(directory: Path, store: TemporaryStore) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway of two processes, and where it serves."""
    command = [sys.executable, "-m", "cli.main", "serve", "--app", "tiny", "--processes", "2"]
    command += ["--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    process = subprocess.Popen(
        command,
        cwd=directory,
        env={**environment(), "FOREBAY_REDIS_URL": store.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        assert words[0] == "ready"
        yield process, words[1].removeprefix("gateway=")
    finally:
        process.kill()
        process.communicate()


def test_all_processes_end_when_their_parent_is_lost(directory: Path, store: TemporaryStore) -> None:
    with two_processes(directory, store) as (process, _):
        members = children(process.pid)
        process.kill()
        process.communicate(timeout=60)  # the pipes close when the last of them has ended
    assert len(members) == 2


def test_process_that_is_lost_is_started_again_while_the_other_serves(
    directory: Path, store: TemporaryStore
) -> None:
    with two_processes(directory, store) as (process, address):
        first, lost = sorted(children(process.pid))
        os.kill(lost, signal.SIGKILL)
        while Path(f"/proc/{lost}").exists():  # until then its port may be open
            time.sleep(0.01)
        assert all(len(predict(address)) == 5 for _ in range(4))
        for _ in range(300):
            if len(members := children(process.pid)) == 2:
                break
            time.sleep(0.1)
        assert first in members
        assert lost not in members
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert f"process {lost} ended by SIGKILL; it is started again in 0.5 s" in log


def children(pid: int) -> list[int]:
    """Return the gateway processes that a process has spawned."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]
