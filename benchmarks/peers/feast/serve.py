"""Runs `feast serve` on a free port; prints `ready HOST:PORT` once it is healthy, and ends it with itself.

Beyond the defaults: the access log is off, and workers aren't replaced after a thousand requests, which would
fail some of them in the middle of a measurement.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_HOST = "127.0.0.1"
_READY_S = 60.0
_POLL_S = 0.1


def main() -> int:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    port = _free_port()
    command = [str(Path(sys.executable).with_name("feast")), "--chdir", str(options.repository), "serve"]
    command += ["--host", _HOST, "--port", str(port), "--workers", str(options.workers)]
    command += ["--no-access-log", "--max-requests", "0"]
    # Its own words go to the log: standard output is for the line that says it is ready.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    if not _becomes_healthy(server, f"http://{_HOST}:{port}/health"):
        server.terminate()
        return server.wait() or 1
    sys.stdout.write(f"ready {_HOST}:{port}\n")
    sys.stdout.flush()
    return server.wait()


def _becomes_healthy(server: subprocess.Popen[bytes], url: str) -> bool:
    deadline_s = time.monotonic() + _READY_S
    while server.poll() is None and time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
