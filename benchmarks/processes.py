"""The processes of a benchmark: `forebay` commands that run and end, servers that say when they are ready.
All run from this checkout, in a working directory of their own, with no FOREBAY_ setting from outside.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOREBAY = (sys.executable, "-c", "from cli.main import main; main()")
_READY_S = 120.0
_COMMAND_S = 3_600.0  # the index over a million vectors


class CommandFailed(RuntimeError):
    """A command or server ended otherwise than it should; the message ends with what it said last."""


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment as the benchmark's processes get it, with `settings` in it."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("FOREBAY_")}
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])} | dict(settings or {})


def run(command: Sequence[str], cwd: Path, settings: Mapping[str, str] | None = None) -> str:
    """Run a command to its end; return its standard output. `settings` are variables of its environment.

    Raises: CommandFailed.
    """
    ended = subprocess.run(
        command,
        cwd=cwd,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    if ended.returncode:
        raise CommandFailed(f"{_name(command)} exits {ended.returncode}: {_last_lines(ended.stderr)}")
    return ended.stdout


def run_peak_mb(command: Sequence[str], cwd: Path) -> float:
    """Run a command to its end; return the most memory that it had resident, in MB of a million bytes.

    Raises: CommandFailed.
    """
    said = run([sys.executable, "-m", "benchmarks.peak_memory", *command], cwd)
    return int(said) / 1e6


def run_json(command: Sequence[str], cwd: Path) -> Any:
    """Run a command to its end; return the JSON that it prints. Raises: CommandFailed."""
    return json.loads(run(command, cwd))


def descendants(pid: int) -> tuple[int, ...]:
    """Return a process and all that come from it, by the kernel's table."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return tuple(found)


class Server:
    """A context in which a server process runs that prints one line beginning with `ready`.

    `settings` are variables of its environment.
    """

    def __init__(
        self, command: Sequence[str], cwd: Path, log: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._cwd = cwd
        self._log = log
        self._settings = settings
        self._process: subprocess.Popen[str]
        self.line = ""

    def __enter__(self) -> Server:
        """Return with the server ready. Raises: CommandFailed."""
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=environment(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.line = self._ready_line()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's process, and those that it has started."""
        return descendants(self.pid)

    def _ready_line(self) -> str:
        out = self._process.stdout
        assert out is not None, "stdout is piped"
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            deadline_s = time.monotonic() + _READY_S
            while selector.select(max(0.0, deadline_s - time.monotonic())):
                line = out.readline()
                if line.startswith("ready"):
                    return line.strip()
                if not line:
                    break
        said = _last_lines(self._log.read_text())
        raise CommandFailed(f"{_name(self._command)} is not ready after {_READY_S:g} s, or ended: {said}")

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _name(command: Sequence[str]) -> str:
    words = (
        ("forebay", *command[len(FOREBAY) :]) if tuple(command[: len(FOREBAY)]) == FOREBAY else command[1:]
    )
    return " ".join(words[:4])


def _last_lines(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-4:]) or "it says nothing"
