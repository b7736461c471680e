"""What the rows of one run share: the prepared application, its gateway, the echo, the load generator, the
requests. Each is made when first asked for, and all end with the run.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.load import write_requests
from benchmarks.pairs import Sample
from benchmarks.prepared import Prepared, prepared
from benchmarks.processes import ROOT, Server, run_json
from benchmarks.workload import APP, Workload
from runtime.rpc.server import channel_options
from runtime.settings import ServerSettings


class MeasurementFailed(RuntimeError):
    """Something was measured that is not what was meant to be."""


class BenchRunning(RuntimeError):
    """Another bench has the working directory."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often: seconds of one load, pairs of one ratio."""

    seconds: float = 2.0
    repeats: int = 5


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes, and the processes whose CPU it is."""

    address: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Prepared requests of one method, in a file."""

    path: str
    requests: Path
    response_bytes: int = 0


class Bench:
    """A context in which rows are measured; `work` is a directory that may be kept between runs.

    `say` is told what is being done, `tick` how many pairs of the row are done.
    """

    def __init__(
        self, work: Path, options: Options, say: Callable[[str], None], tick: Callable[[int], None]
    ) -> None:
        self.work = work
        self.options = options
        self.say = say
        self.tick = tick
        self.workload = Workload()
        self._stack = ExitStack()
        work.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Bench:
        """Return with the directory taken. Raises: BenchRunning."""
        lock = self._stack.enter_context((self.work / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BenchRunning(f"another bench works in {self.work}: two would measure each other") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @cached_property
    def prepared(self) -> Prepared:
        """The application with its rows and index, the store running."""
        return self._stack.enter_context(prepared(self.work, self.workload, self.say))

    @cached_property
    def gateway(self) -> Target:
        """`forebay serve` on the prepared application."""
        application = self.prepared
        self.say("forebay serve")
        anywhere = "127.0.0.1:0"
        command = application.forebay("serve", "--app", APP, "--bind", anywhere, "--admin", anywhere)
        server = self._stack.enter_context(Server(command, application.directory, self.work / "gateway.log"))
        address = server.line.split()[1].removeprefix("gateway=")
        return Target(address, (server.pid, application.store.pid))

    @contextmanager
    def echo(self, response_bytes: int) -> Iterator[Target]:
        """Run an echo that answers with so many bytes, with the gateway's channel options."""
        command = [sys.executable, "-m", "benchmarks.echo_server", "--response-bytes", str(response_bytes)]
        for name, value in channel_options(ServerSettings(), shares_port=False):
            command += ["--option", f"{name}={value}"]
        with Server(command, ROOT, self.work / "echo.log") as server:
            yield Target(server.line.split()[1], (server.pid,))

    def requests(self, name: str, path: str, messages: Sequence[bytes]) -> Load:
        """Return the messages as a load, written to a file, with the size that the gateway answers with."""
        file = self.work / f"{name}.requests"
        write_requests(file, messages)
        probe = self.load(self.gateway, Load(path, file), 1, seconds=0.5)
        return Load(path, file, int(probe["response_bytes"]))

    def load(
        self, target: Target, load: Load, concurrency: int, seconds: float | None = None
    ) -> dict[str, Any]:
        """Return what the load generator reports. Raises: MeasurementFailed where a call failed."""
        command = [sys.executable, "-m", "benchmarks.load", "--address", target.address, "--path", load.path]
        command += ["--requests", str(load.requests), "--concurrency", str(concurrency)]
        command += ["--seconds", str(seconds or self.options.seconds)]
        for pid in target.pids:
            command += ["--watch", str(pid)]
        report: dict[str, Any] = run_json(command, ROOT)
        if report["failures"] or not report["calls"]:
            raise MeasurementFailed(
                f"{load.path}: {report['failures']} calls failed, {report['calls']} ended"
            )
        return report

    def sample(self, target: Target, load: Load, concurrency: int, measure: str) -> Sample:
        """Return one figure of a load's report, the whole report beside it."""
        report = self.load(target, load, concurrency)
        return Sample(report[measure], report)
