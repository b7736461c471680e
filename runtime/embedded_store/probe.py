"""Who answers at a unix socket: asked synchronously, while a process starts or stops."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.errors import Unavailable
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError
from redis.retry import Retry

from runtime.clock import SystemClock

_POLL_S = 0.005
_SILENCE_S = 10.0
_LOADING_S = 600.0
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Answer:
    """A server that answers: its process, data directory, binary and version ("valkey 9.1.2")."""

    pid: int
    directory: Path
    program: str
    version: str


def ask(socket: Path) -> Answer | None:
    """Return who answers at `socket`, None where nobody listens. Raises: BusyLoadingError; TimeoutError."""
    with _client(socket) as client:
        try:
            client.ping()
            facts: dict[str, Any] = client.info("server")
            directory = client.config_get("dir")["dir"]
        except TimeoutError:
            raise
        except ConnectionError:
            return None
    kind = str(facts.get("server_name", "redis"))
    version = facts.get(f"{kind}_version") or facts["redis_version"]
    return Answer(int(facts["process_id"]), Path(directory), str(facts["executable"]), f"{kind} {version}")


def wait_for_answer(socket: Path, log: Path, alive: Callable[[], bool]) -> Answer:
    """Return who answers once somebody does; loading the data may take its time.

    Raises: Unavailable with the end of the server's log once it isn't `alive`, or was silent for too long.
    """
    start_s = heard_s = _clock.monotonic_s()
    while True:
        try:
            answer = ask(socket)
            if answer is not None:
                return answer
        except BusyLoadingError:
            heard_s = _clock.monotonic_s()
        except TimeoutError:
            pass  # as silent as one that doesn't listen yet
        now_s = _clock.monotonic_s()
        if not alive() or now_s - heard_s > _SILENCE_S or now_s - start_s > _LOADING_S:
            raise Unavailable(f"the embedded store doesn't start: {_last_line(log)} (its log: {log})")
        time.sleep(_POLL_S)


def shut_down(socket: Path) -> None:
    """Ask the server at `socket` to write what it has and end."""
    with _client(socket) as client:
        client.shutdown(nosave=True)


def wait_for_end(pid: int) -> None:
    """Return once the process is gone. Raises: Unavailable."""
    start_s = _clock.monotonic_s()
    while is_running(pid):
        if _clock.monotonic_s() - start_s > _SILENCE_S:
            raise Unavailable(f"the embedded store (process {pid}) was told to end and goes on")
        time.sleep(_POLL_S)


def is_running(pid: int) -> bool:
    """Return whether a process of this id runs. One that has ended and that nobody waits for (a container's
    first process often doesn't) still has its id; on Linux it is known by its state.
    """
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except (FileNotFoundError, PermissionError):  # no /proc here; or somebody else's process
        return True


def _client(socket: Path) -> Redis:
    return Redis(unix_socket_path=str(socket), socket_timeout=5, retry=Retry(NoBackoff(), 0))


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "it left no log"
    return lines[-1] if lines else "its log is empty"
