"""A gateway as a process of its own, started and ended by another command; and commands run as processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from forebay.errors import Unavailable

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A running `forebay serve` and where it answers: HOST:PORT."""

    pid: int
    gateway: str
    admin: str


def run_command(arguments: Sequence[str]) -> str:
    """Run `forebay ARGUMENTS` as a process and return what it printed. Raises: Unavailable with its error."""
    ended = subprocess.run(_command(arguments), capture_output=True, text=True, check=False)
    if ended.returncode:
        said = ended.stderr.strip() or ended.stdout.strip()
        raise Unavailable(f"`forebay {' '.join(arguments)}` failed with exit code {ended.returncode}: {said}")
    return ended.stdout


@contextmanager
def gateway_process(arguments: Sequence[str]) -> Iterator[GatewayProcess]:
    """Run `forebay serve ARGUMENTS` until the end of the block; then SIGTERM, and wait for its drain.

    Raises: Unavailable, with the end of its log, where it doesn't get ready or doesn't end well.
    """
    with tempfile.TemporaryFile("w+") as log:
        command = _command(["serve", *arguments])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield _ready(process, log)
        finally:
            code = _ended(process)
        if code:
            raise Unavailable(f"the gateway ended with exit code {code}: {_tail(log)}")


@contextmanager
def stream_worker_process(arguments: Sequence[str]) -> Iterator[int]:
    """Run `forebay stream run ARGUMENTS` until the end of the block, and give its process; then SIGTERM.

    Raises: Unavailable, with the end of its log, where it doesn't get ready or doesn't end well.
    """
    with tempfile.TemporaryFile("w+") as log:
        command = _command(["stream", "run", *arguments])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            _ready_line(process, log)
            yield process.pid
        finally:
            code = _ended(process)
        if code:
            raise Unavailable(f"the stream worker ended with exit code {code}: {_tail(log)}")


def _ended(process: subprocess.Popen[str]) -> int:
    """End a process, gently at first; return its exit code."""
    process.terminate()
    try:
        code = process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def _ready(process: subprocess.Popen[str], log: IO[str]) -> GatewayProcess:
    """Wait until the gateway says where it serves."""
    addresses = dict(word.split("=", 1) for word in _ready_line(process, log).split())
    return GatewayProcess(process.pid, addresses["gateway"], addresses["admin"])


def _ready_line(process: subprocess.Popen[str], log: IO[str]) -> str:
    """Wait for the line that says that a process is ready, and return the rest of it; one that is too slow is
    ended."""
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
    finally:
        watchdog.cancel()
    kind, _, rest = line.strip().partition(" ")
    if kind != "ready":
        raise Unavailable(f"it didn't get ready: {_tail(log)}")
    return rest


def _tail(log: IO[str]) -> str:
    log.seek(0)
    return " | ".join(log.read().strip().splitlines()[-5:]) or "its log is empty"
