"""`forebay stream run` as real processes that start at once: forked from one that has imported it already."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from cli.main import run
from tests.support.served_application import START_S
from tests.support.trend_application import APP

SETTINGS = """
[registry]
poll_s = 0.05
[stream]
checkpoint_s = 0.1
chunk_events = {chunk}
history_chunk_events = {chunk}
"""


@dataclass
class StreamProcess:
    """Starts, kills and ends workers of the application of trends; one at a time. The working directory must
    be `directory`."""

    directory: Path
    redis_url: str
    chunk: int = 100
    process: ForkServerProcess = field(init=False)

    def __post_init__(self) -> None:
        (self.directory / "forebay.toml").write_text(SETTINGS.format(chunk=self.chunk))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["jobs.stream.worker", "cli.stream"])

    def start(self, *flags: str) -> None:
        """Start a worker."""
        arguments = ["stream", "run", *flags, "--app", APP, "--redis", self.redis_url]
        self.process = self._context.Process(target=run, args=(arguments,))
        self.process.start()

    def kill(self) -> None:
        """End it with SIGKILL, wherever it is."""
        self.process.kill()
        self._ended()

    def end(self) -> int:
        """Ask it to end (SIGTERM); return its exit code."""
        self.process.terminate()
        return self._ended()

    def catch_up(self) -> None:
        """Run a worker until it has caught up and ended."""
        self.start("--once")
        assert self._ended() == 0

    def _ended(self) -> int:
        self.process.join(START_S)
        code = self.process.exitcode
        assert code is not None, "the worker hasn't ended"
        self.process.close()
        return code
