"""An application that is applied, refreshed and indexed by the real commands, in this process, and served by
the real command as a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from unittest.mock import patch

from cli import main

ROOT = Path(__file__).resolve().parents[2]
START_S = 60


_one_at_a_time = Lock()
"""Held by a command: it has the working directory, the environment and the standard streams to itself."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class ServedApplication:
    """A gateway process and where it answers."""

    app: str
    directory: Path
    redis_url: str
    gateway: str
    admin: str
    process: subprocess.Popen[str]

    def forebay(self, *args: str) -> Ended:
        """Run a command in this process, against the same store and artifacts."""
        return forebay(self.directory, self.redis_url, *args)


def environment() -> dict[str, str]:
    """Return this process's environment, from which the checkout's own packages can be imported."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "sdk")])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "default"}


def forebay(directory: Path, redis_url: str, *args: str) -> Ended:
    """Run `forebay ...` in `directory` and return how it ended. It runs in this process, which has loaded
    already what a process of its own would take seconds to load."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _one_at_a_time,
        chdir(directory),
        patch.dict(os.environ, FOREBAY_REDIS_URL=redis_url),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = main.run(args)
    return Ended(code, out.getvalue(), err.getvalue())


def forebay_process(directory: Path, redis_url: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `forebay ...` in `directory`, as a process of its own, and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *args],
        cwd=directory,
        env={**environment(), "FOREBAY_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def prepare(directory: Path, redis_url: str, file: Path, indexes: tuple[str, ...]) -> None:
    """Apply the file, refresh all its views, build its indexes."""
    commands = [("apply", str(file)), ("refresh", "run", "--app", file.stem)]
    commands += [("index", "build", index, "--app", file.stem) for index in indexes]
    for command in commands:
        ended = forebay(directory, redis_url, *command)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"


@contextmanager
def served(
    directory: Path, redis_url: str, app: str, *flags: str, ends_with: int = 0
) -> Iterator[ServedApplication]:
    """Serve an application until the end of the block; then SIGTERM, and an exit code of 0, or of what the
    block has done to the process."""
    log = directory / "serve.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "cli.main", "serve", "--app", app),
                *("--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
                *flags,
            ],
            cwd=directory,
            env={**environment(), "FOREBAY_REDIS_URL": redis_url, "FOREBAY_REGISTRY__POLL_S": "0.1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), f"not ready: {line!r}\n{log.read_text()}"
        words = dict(word.split("=", 1) for word in line.split()[1:])
        yield ServedApplication(app, directory, redis_url, words["gateway"], words["admin"], process)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(START_S)
        process.stdout.close()
    assert code == ends_with, log.read_text()
