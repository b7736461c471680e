"""`forebay worker` as a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.served_application import START_S, environment


@contextmanager
def working(
    directory: Path, redis_url: str, app: str, *, exit_code: int = 0, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a worker until the end of the block; then SIGTERM, and an exit code of 0. `variables` are
    settings'."""
    log = directory / "worker.log"
    settings = {f"FOREBAY_{name.upper()}": value for name, value in variables.items()}
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "worker", "--app", app],
            cwd=directory,
            env={
                **environment(),
                "FOREBAY_REDIS_URL": redis_url,
                "FOREBAY_REGISTRY__POLL_S": "0.1",
                **settings,
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready worker="), f"not ready: {line!r}\n{log.read_text()}"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(START_S)
        process.stdout.close()
    assert code == exit_code, log.read_text()
