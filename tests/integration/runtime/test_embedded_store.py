"""The embedded store: real servers, started, joined, killed and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forebay.errors import Unavailable
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from runtime.embedded_store import (
    TemporaryStore,
    find_server_program,
    join_embedded_store,
    keep_running,
    program,
    stop_embedded_store,
)
from runtime.embedded_store.probe import is_running, wait_for_end
from tests.support.store_server import KINDS, program_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of server, made the only one to be found."""
    found = program_of(request.param)
    monkeypatch.setattr(program, "server_programs", lambda: {request.param: found})
    return str(request.param)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "a b'c\"d" / ".forebay"
    yield directory
    stop_embedded_store(directory)


def pid_of(directory: Path) -> int:
    return int((directory / "store.pid").read_text())


def kill(directory: Path) -> None:
    """End the directory's server without a chance to tidy up."""
    pid = pid_of(directory)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


def test_second_joins_and_data_stays_when_the_first_has_started_it(kind: str, directory: Path) -> None:
    store = join_embedded_store(directory)
    assert store.version.startswith(kind)
    with Redis.from_url(store.url) as client:
        client.set("k", "v")
    pid = pid_of(directory)
    assert join_embedded_store(directory) == store
    assert pid_of(directory) == pid
    assert stop_embedded_store(directory)
    assert not stop_embedded_store(directory)
    assert not is_running(pid)
    with Redis.from_url(join_embedded_store(directory).url) as client:
        assert client.get("k") == b"v"


def test_data_is_recovered_when_the_server_was_killed(kind: str, directory: Path) -> None:
    with Redis.from_url(join_embedded_store(directory).url) as client:
        client.mset({f"k{number}": number for number in range(1000)})
    kill(directory)
    assert (directory / "store.sock").exists()
    with Redis.from_url(join_embedded_store(directory).url) as client:
        assert client.dbsize() == 1000


def test_memory_is_never_evicted_when_the_store_is_full(kind: str, directory: Path) -> None:
    with Redis.from_url(join_embedded_store(directory).url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}


_JOIN = "import sys, pathlib; from runtime.embedded_store import join_embedded_store as join; "
_JOIN += "print(join(pathlib.Path(sys.argv[1])).url)"


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_one_server_runs_when_many_processes_start_at_once(directory: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: run_python(_JOIN, str(directory)).strip(), range(4)))
    assert len(urls) == 1
    with Redis.from_url(urls.pop()) as client:
        assert client.info("server")["process_id"] == pid_of(directory)
    log = (directory / "store.log").read_text()
    assert log.count("Ready to accept connections") == 1


def test_store_survives_when_its_starter_has_ended(directory: Path) -> None:
    url = run_python(_JOIN, str(directory)).strip()
    with Redis.from_url(url) as client:
        assert client.ping()


def test_socket_lies_elsewhere_when_the_directory_is_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    try:
        store = join_embedded_store(deep)
        assert len(store.url) < 110
        assert join_embedded_store(deep) == store
    finally:
        assert stop_embedded_store(deep)


def test_joining_is_refused_when_another_directory_answers(tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    directory.mkdir()
    with TemporaryStore() as stranger:
        (directory / "store.sock").symlink_to(stranger.socket)
        with pytest.raises(Unavailable, match="elsewhere"):
            join_embedded_store(directory)
        with pytest.raises(Unavailable, match="elsewhere"):
            stop_embedded_store(directory)


def test_joining_fails_with_the_servers_words_when_its_data_is_damaged(kind: str, directory: Path) -> None:
    with Redis.from_url(join_embedded_store(directory).url) as client:
        client.set("k", "v")
    stop_embedded_store(directory)
    (file,) = (directory / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"not an append-only file\n" + file.read_bytes())
    with pytest.raises(Unavailable, match="append only file"):
        join_embedded_store(directory)


def test_joining_fails_when_the_binary_does_not_run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "server_programs", lambda: {"redis": "/bin/false"})
    with pytest.raises(Unavailable, match="/bin/false doesn't start"):
        join_embedded_store(directory)


def test_nothing_is_stopped_when_there_is_no_directory(tmp_path: Path) -> None:
    assert not stop_embedded_store(tmp_path / "none")


def test_temporary_store_is_gone_when_its_context_ends(kind: str) -> None:
    with TemporaryStore(find_server_program()) as store:
        assert store.version.startswith(kind)
        with Redis.from_url(store.url) as client:
            client.set("k", "v")
            with pytest.raises(ResponseError):
                client.execute_command("CONFIG", "SET", "port", "-1")
    assert not store.socket.parent.exists()


_DIE = """
import os, signal
from runtime.embedded_store import TemporaryStore
store = TemporaryStore().__enter__()
print(store.pid, store.socket.parent, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_temporary_store_is_gone_when_its_starter_is_killed() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_python(_DIE)
    pid, directory = caught.value.stdout.split()
    wait_for_end(int(pid))
    for _ in range(3000):
        if not Path(directory).exists():
            return
        time.sleep(0.01)
    pytest.fail("its directory is left")


async def test_server_is_started_again_with_its_data_when_it_was_killed(directory: Path) -> None:
    store = await asyncio.to_thread(join_embedded_store, directory)
    with Redis.from_url(store.url) as client:
        client.set("k", "v")
    keeper = asyncio.create_task(keep_running(directory, 0.05))
    killed = pid_of(directory)
    await asyncio.to_thread(kill, directory)
    for _ in range(400):
        if await asyncio.to_thread(_answers, store.url):
            break
        await asyncio.sleep(0.05)
    assert pid_of(directory) != killed
    with Redis.from_url(store.url) as client:
        assert client.get("k") == b"v"
    assert await asyncio.to_thread(stop_embedded_store, directory)
    await asyncio.sleep(0.2)
    assert not (directory / "store.pid").exists()
    assert not keeper.done()
    keeper.cancel()


def _answers(url: str) -> bool:
    with Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False
