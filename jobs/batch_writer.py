"""Who runs a batch: this process, by a name that tells another one of this machine when it is gone."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

_PROCESS = secrets.token_hex(4)
"""Tells this process from an earlier one of the same number."""


def new_writer() -> str:
    """Return a name that nobody else ever has: machine, process, and which of its runs."""
    return f"{_machine()}/{os.getpid()}/{_PROCESS}/{secrets.token_hex(4)}"


def is_gone(writer: str) -> bool:
    """Return whether the process of that name has certainly ended: it was of this machine.

    Of another machine's process only its hold says whether it lives: that expires.
    """
    machine, _, rest = writer.partition("/")
    number, _, run = rest.partition("/")
    if machine != _machine() or not number.isdecimal():
        return False
    if int(number) == os.getpid():
        return not run.startswith(f"{_PROCESS}/")
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _machine() -> str:
    """Return the host, and where it has several the namespace that process numbers are of."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname().replace('/', '_')}.{namespace}"
