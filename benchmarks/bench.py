"""What the rows of one run share: the prepared application, its gateway, the echo, the load generator, the
requests. Each is made when first asked for, and all end with the run.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from benchmarks.arrivals import Phase
from benchmarks.load import write_requests
from benchmarks.pairs import Sample
from benchmarks.prepared import Prepared, prepared
from benchmarks.processes import ROOT, Server, run_json
from benchmarks.workload import APP, Workload
from runtime.rpc.server import channel_options
from runtime.settings import ServerSettings

T = TypeVar("T")


class MeasurementFailed(RuntimeError):
    """Something was measured that is not what was meant to be."""


class BenchRunning(RuntimeError):
    """Another bench has the working directory."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often: seconds of one load and of one overload, pairs of one ratio."""

    seconds: float = 2.0
    repeats: int = 5
    overload_s: float = 30.0
    entities: int = 100_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes, and the processes whose CPU it is; of a gateway also its admin port."""

    address: str
    pids: tuple[int, ...]
    admin: str = ""


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
        entities = options.entities
        self.workload = Workload(entities=entities, clusters=max(1, entities // 100))
        self._stack = ExitStack()
        self._gateways = 0
        self._made: dict[Callable[[Bench], Any], Any] = {}
        work.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Bench:
        """Return with the directory taken. Raises: BenchRunning."""
        lock = self._stack.enter_context((self.work / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BenchRunning(f"another bench works in {self.work}: two would measure each other") from error
        return self

    def once(self, make: Callable[[Bench], T]) -> T:
        """Return what `make` makes of this bench; the same to every row that asks.

        Raises: what `make` raised, again for every row: a scenario that fails isn't tried for each of them.
        """
        if make not in self._made:
            try:
                self._made[make] = make(self)
            except Exception as error:  # noqa: BLE001  kept, and raised below
                self._made[make] = error
        made = self._made[make]
        if isinstance(made, Exception):
            raise made
        kept: T = made
        return kept

    def stay(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that lasts as long as the bench."""
        return self._stack.enter_context(context)

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
        return self.stay(self.serving())

    @contextmanager
    def serving(
        self,
        application: Prepared | None = None,
        settings: Mapping[str, str] | None = None,
        processes: int = 1,
    ) -> Iterator[Target]:
        """Run `forebay serve` with these settings (variables of its environment)."""
        application = application or self.prepared
        self.say("forebay serve")
        anywhere = "127.0.0.1:0"
        command = application.forebay("serve", "--app", APP, "--bind", anywhere, "--admin", anywhere)
        command += ["--processes", str(processes)]
        self._gateways += 1
        log = self.work / f"gateway-{self._gateways}.log"
        with Server(command, application.directory, log, settings) as server:
            addresses = dict(word.split("=", 1) for word in server.line.split()[1:])
            pids = (*server.pids, application.store.pid)
            yield Target(addresses["gateway"], pids, addresses["admin"])

    @contextmanager
    def echo(self, response_bytes: int) -> Iterator[Target]:
        """Run an echo that answers with so many bytes, with the gateway's channel options."""
        command = [sys.executable, "-m", "benchmarks.echo_server", "--response-bytes", str(response_bytes)]
        for name, value in channel_options(ServerSettings(), shares_port=False):
            command += ["--option", f"{name}={value}"]
        with Server(command, ROOT, self.work / "echo.log") as server:
            yield Target(server.line.split()[1], (server.pid,))

    def requests(self, name: str, path: str, messages: Sequence[bytes], target: Target | None = None) -> Load:
        """Return the messages as a load, written to a file, with the size that the gateway answers with."""
        file = self.work / f"{name}.requests"
        write_requests(file, messages)
        probe = self.load(target or self.gateway, Load(path, file), 1, seconds=0.5)
        return Load(path, file, int(probe["response_bytes"]))

    def load(
        self,
        target: Target,
        load: Load,
        concurrency: int,
        seconds: float | None = None,
        connections: int = 4,
        *,
        may_fail: bool = False,
    ) -> dict[str, Any]:
        """Return what the load generator reports.

        Raises: MeasurementFailed where a call failed (unless some `may_fail`), or none ended.
        """
        command = [sys.executable, "-m", "benchmarks.load", "--connections", str(connections)]
        command += _aimed(target, load)
        command += ["--concurrency", str(concurrency), "--seconds", str(seconds or self.options.seconds)]
        return _checked(load, run_json(command, ROOT), may_fail=may_fail)

    def stream_load(self, target: Target, load: Load, concurrency: int) -> dict[str, Any]:
        """Return what the load generator for one stream reports. Raises: MeasurementFailed."""
        command = [sys.executable, "-m", "benchmarks.stream_load", *_aimed(target, load)]
        command += ["--concurrency", str(concurrency), "--seconds", str(self.options.seconds)]
        return _checked(load, run_json(command, ROOT))

    def http_load(
        self, target: Target, load: Load, concurrency: int, seconds: float | None = None
    ) -> dict[str, Any]:
        """Return what the load generator for HTTP reports. Raises: MeasurementFailed where a call failed."""
        command = [sys.executable, "-m", "benchmarks.http_load", *_aimed(target, load)]
        command += ["--concurrency", str(concurrency), "--seconds", str(seconds or self.options.seconds)]
        return _checked(load, run_json(command, ROOT))

    def open_load(
        self, target: Target, load: Load, phases: Sequence[Phase], timeout_s: float, *words: str
    ) -> dict[str, Any]:
        """Return what the open loop reports; `words` are more of its options."""
        command = [sys.executable, "-m", "benchmarks.open_load", "--timeout-s", str(timeout_s)]
        command += [*_aimed(target, load), *words]
        for phase in phases:
            command += ["--phase", f"{phase.seconds}:{phase.rate_per_s}"]
        report: dict[str, Any] = run_json(command, ROOT)
        return report

    def sample(self, target: Target, load: Load, concurrency: int, measure: str) -> Sample:
        """Return one figure of a load's report, the whole report beside it."""
        report = self.load(target, load, concurrency)
        return Sample(report[measure], report)


def _aimed(target: Target, load: Load) -> list[str]:
    """Return the options of a load generator that say what to call."""
    words = ["--address", target.address, "--path", load.path, "--requests", str(load.requests)]
    for pid in target.pids:
        words += ["--watch", str(pid)]
    return words


def _checked(load: Load, report: dict[str, Any], *, may_fail: bool = False) -> dict[str, Any]:
    if (report["failures"] and not may_fail) or not report["calls"]:
        told = f": {report['problem']}" if report.get("problem") else ""
        raise MeasurementFailed(
            f"{load.path}: {report['failures']} calls failed, {report['calls']} ended well{told}"
        )
    return report
