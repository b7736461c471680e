"""Several gateway processes on one port: spawned, never forked, announced when all serve, ended together."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import click
from forebay.errors import Error

from cli.failures import describe, exit_code
from cli.serving import serve_here
from gateway.app import Addresses
from runtime.settings import Settings, split_address


@dataclass(frozen=True, slots=True)
class Member:
    """One process, and the end of the pipe on which it says where it serves."""

    process: SpawnProcess
    ready: Connection


def run_processes(settings: Settings, store_url: str, ready: Callable[[Addresses], None]) -> int:
    """Serve with `server.processes` processes until SIGTERM or SIGINT, and return the exit code.

    If one of them ends by itself the others are ended too, and the exit code is 1. The admin port is the
    first one's; the others take a free one.
    """
    with _reserved(settings.server.bind) as bind:
        members = [_spawned(settings, store_url, bind, n) for n in range(settings.server.processes)]
        stop = _Stop(members)
        addresses = [_address(member) for member in members]
        serving = [address for address in addresses if address is not None]
        if len(serving) == len(members):
            ready(serving[0])
            wait([member.process.sentinel for member in members])
        return _ended(members, asked=stop.asked)


class _Stop:
    """Passes SIGTERM and SIGINT on to the members, and remembers that the end was asked for."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for member in self._members:
            member.process.terminate()


def _spawned(settings: Settings, store_url: str, bind: str, number: int) -> Member:
    host, _ = split_address(settings.server.admin)
    admin = settings.server.admin if number == 0 else f"{_bracketed(host)}:0"
    server = settings.server.model_copy(update={"bind": bind, "admin": admin})
    own = settings.model_copy(update={"server": server})
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve_member, args=(own, store_url, sender), name=f"gateway-{number}")
    process.start()
    sender.close()
    return Member(process, receiver)


def _serve_member(settings: Settings, store_url: str, ready: Connection) -> None:
    """Be one of the processes; ends with the exit code of its work."""
    try:
        code = serve_here(settings, store_url, ready.send)
    except Error as error:
        click.echo(describe(error), err=True)
        code = exit_code(error)
    sys.exit(code)


def _address(member: Member) -> Addresses | None:
    """Wait until a member serves; None where it ended instead."""
    wait([member.ready, member.process.sentinel])
    try:
        address: Addresses | None = member.ready.recv() if member.ready.poll() else None
    except EOFError:
        return None
    return address


def _ended(members: Sequence[Member], *, asked: bool) -> int:
    for member in members:
        member.process.terminate()
    for member in members:
        member.process.join()
    clean = all(member.process.exitcode == 0 for member in members)
    return 0 if asked and clean else 1


@contextmanager
def _reserved(address: str) -> Iterator[str]:
    """Hold the port that the members will share, and yield its address: port 0 becomes a real one.

    The socket is bound but doesn't listen, so that no connection ever goes to it.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
        yield f"{_bracketed(host)}:{holder.getsockname()[1]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
