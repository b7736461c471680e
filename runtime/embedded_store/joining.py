"""One persistent server per directory: whoever comes first starts it, the others join; it outlives them all.

The directory holds the append-only file, `store.sock`, `store.pid`, `store.log` and `store.lock`, the file
lock under which a server is started or ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from forebay.errors import Unavailable
from redis.exceptions import BusyLoadingError, TimeoutError

from runtime.embedded_store.probe import (
    Answer,
    ask,
    is_running,
    shut_down,
    wait_for_answer,
    wait_for_end,
)
from runtime.embedded_store.program import find_server_program

_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernels allow 108 (Linux) and 104 (macOS), the end mark included."""


@dataclass(frozen=True, slots=True)
class EmbeddedStore:
    """A running embedded server: its URL, its binary and its version ("valkey 9.1.2")."""

    url: str
    program: str
    version: str


def join_embedded_store(directory: Path) -> EmbeddedStore:
    """Return the server whose data lives in `directory`, started if none runs. It survives this process.

    Raises: Unavailable where there is no server binary, or it doesn't start, or a server of another directory
    answers at the socket. Cost: blocks, until the data is loaded where a server must start.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    socket = _socket_path(directory)
    with _locked(directory):
        answer = _running(socket, directory) or _start(socket, directory)
    return EmbeddedStore(f"unix://{quote(str(socket))}", answer.program, answer.version)


def revive_embedded_store(directory: Path) -> bool:
    """Start the server of `directory` again where it was killed, and return whether it was.

    One that was stopped in order has taken its process id file with it, and stays so.
    Raises: Unavailable. Cost: one small file read; blocks where the server must start.
    """
    directory = directory.resolve()
    if not (directory / "store.pid").exists() or _may_run(directory):
        return False
    join_embedded_store(directory)
    return True


def stop_embedded_store(directory: Path) -> bool:
    """End the server of `directory`, its data written; return whether one ran. Raises: Unavailable."""
    directory = directory.resolve()
    if not directory.is_dir():
        return False
    socket = _socket_path(directory)
    with _locked(directory):
        answer = _running(socket, directory)
        if answer is None:
            return False
        shut_down(socket)
        wait_for_end(answer.pid)
    return True


def _running(socket: Path, directory: Path) -> Answer | None:
    """Return who answers at the socket, its data loaded. Raises: Unavailable where it isn't ours."""
    try:
        answer = ask(socket)
    except (BusyLoadingError, TimeoutError):
        answer = wait_for_answer(socket, directory / "store.log", lambda: _may_run(directory))
    if answer is not None and not _same(answer.directory, directory):
        raise Unavailable(f"the server that answers at {socket} keeps its data elsewhere: {answer.directory}")
    return answer


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _start(socket: Path, directory: Path) -> Answer:
    program = find_server_program()
    pid_file, log = directory / "store.pid", directory / "store.log"
    socket.unlink(missing_ok=True)
    pid_file.unlink(missing_ok=True)
    options = {
        "daemonize": "yes",
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(pid_file),
        "logfile": str(log),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    _run(program, options)
    return wait_for_answer(socket, log, lambda: _may_run(directory))


def _run(program: str, options: dict[str, str]) -> None:
    """Run the binary until it has gone into the background. Raises: Unavailable with what it complains of."""
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    try:
        subprocess.run([program, *arguments], check=True, capture_output=True, text=True, timeout=10)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        raise Unavailable(f"{program} doesn't start: {said[-1] if said else 'it says nothing'}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{program} doesn't start: {error}") from error


def _may_run(directory: Path) -> bool:
    """Return False once the server has noted its process id and that process is gone."""
    try:
        return is_running(int((directory / "store.pid").read_text()))
    except (FileNotFoundError, ValueError):
        return True


def _socket_path(directory: Path) -> Path:
    """Return the socket's place: in the directory or, where that path is too long for a socket, in a private
    directory of the system's temporary one, named after the directory.
    """
    socket = directory / "store.sock"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
        return socket
    private = Path(tempfile.gettempdir()) / f"forebay-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid():
        raise Unavailable(f"{private} belongs to somebody else: set TMPDIR, or FOREBAY_REDIS_URL")
    return private / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}.sock"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel releases it whatever happens to us."""
    with (directory / "store.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
