"""Several gateway processes on one port: spawned, never forked, announced when all serve, started again when
one is lost, ended together."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from types import FrameType
from typing import Final

import click
from forebay.errors import Error

from cli.failures import describe, exit_code
from cli.restarts import Restarts
from cli.serving import serve_here
from gateway.app import Addresses
from runtime.clock import SystemClock
from runtime.settings import Settings, split_address

_LONGEST_LOOK_S: Final = 0.5
_GOOD_ENDS: Final = (0, -signal.SIGTERM)
"""How a member ends that was told to: drained, or before it could listen to signals."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process, and our end of the pipe: it says there where it serves, and ends when we are gone."""

    process: SpawnProcess
    pipe: Connection


def run_processes(settings: Settings, store_url: str, ready: Callable[[Addresses], None]) -> int:
    """Serve with `server.processes` processes until SIGTERM or SIGINT, and return the exit code.

    One that ends by itself is started again, the others serving meanwhile, unless it keeps ending: then the
    others are ended too, and the exit code is 1; so it is where one doesn't get ready at the first start. The
    admin port is the first one's; the others take a free one.
    """
    family = _Family()
    with _reserved(settings.server.bind) as bind:
        for number in range(settings.server.processes):
            family.add(number, _spawned(settings, store_url, bind, number))
        addresses = [_address(member) for member in family.members.values()]
        serving = [address for address in addresses if address is not None]
        if len(serving) == len(family.members):
            ready(serving[0])
            server = settings.server.model_copy(update={"admin": serving[0].admin})
            settled = settings.model_copy(update={"server": server})
            _keep_up(family, lambda number: _spawned(settled, store_url, bind, number))
        family.stop()
        for member in family.members.values():
            member.process.join()
    clean = all(member.process.exitcode in _GOOD_ENDS for member in family.members.values())
    return 0 if family.was_asked and clean else 1


class _Family:
    """The members by number, told to stop only once: a second signal makes them drop their calls."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.was_asked = False
        self._stopped = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)

    def add(self, number: int, member: Member) -> None:
        """Take in a member; it is stopped at once where the end was asked for meanwhile."""
        self.members[number] = member
        if self._stopped:
            member.process.terminate()

    def stop(self) -> None:
        """Tell the members to drain and end."""
        if not self._stopped:
            self._stopped = True
            for member in self.members.values():
                member.process.terminate()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.was_asked = True
        self.stop()


def _keep_up(family: _Family, spawned: Callable[[int], Member]) -> None:
    """Start again who ends by itself; return when the end is asked for, or one of them keeps ending."""
    clock = SystemClock()
    restarts = {number: Restarts() for number in family.members}
    due_s: dict[int, float] = {}
    while not family.was_asked:
        alive = {family.members[number].process.sentinel: number for number in restarts.keys() - due_s.keys()}
        ended = wait(list(alive), _look_s(due_s, clock.monotonic_s()))
        if family.was_asked:
            return
        for number in [alive[sentinel] for sentinel in ended if isinstance(sentinel, int)]:
            wait_s = restarts[number].wait_s(clock.monotonic_s())
            _tell_of(family.members[number], restarts[number], wait_s)
            if wait_s is None:
                return
            due_s[number] = clock.monotonic_s() + wait_s
        for number in [number for number, at_s in due_s.items() if at_s <= clock.monotonic_s()]:
            del due_s[number]
            family.members[number].pipe.close()
            family.add(number, spawned(number))


def _look_s(due_s: Mapping[int, float], now_s: float) -> float | None:
    """Return how long to wait for an end. Not long while somebody is due: if nobody else is left, a signal
    ends nobody's process, and so not the wait."""
    if not due_s:
        return None
    return min(max(min(due_s.values()) - now_s, 0.0), _LONGEST_LOOK_S)


def _tell_of(lost: Member, restarts: Restarts, wait_s: float | None) -> None:
    lost.process.join()
    code = lost.process.exitcode or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    then = f"it is started again in {wait_s:g} s"
    if wait_s is None:
        then = f"that is more than {restarts.most} times in {restarts.within_s:g} s: all are ended"
    click.echo(f"error: process {lost.process.pid} ended {how}; {then}", err=True)


def _spawned(settings: Settings, store_url: str, bind: str, number: int) -> Member:
    host, _ = split_address(settings.server.admin)
    admin = settings.server.admin if number == 0 else f"{_bracketed(host)}:0"
    server = settings.server.model_copy(update={"bind": bind, "admin": admin})
    own = settings.model_copy(update={"server": server})
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_member, args=(own, store_url, theirs), name=f"gateway-{number}")
    process.start()
    theirs.close()
    return Member(process, ours)


def _serve_member(settings: Settings, store_url: str, pipe: Connection) -> None:
    """Be one of the processes; ends with the exit code of its work.

    In a session of its own, so that Ctrl-C reaches it once: from the parent, not from the terminal as well.
    """
    os.setsid()
    Thread(target=_stop_when_closed, args=(pipe,), daemon=True).start()
    try:
        code = serve_here(settings, store_url, pipe.send)
    except Error as error:
        click.echo(describe(error), err=True)
        code = exit_code(error)
    sys.exit(code)


def _stop_when_closed(pipe: Connection) -> None:
    """Stop this process when the parent's end of the pipe closes: a parent that is killed leaves nobody."""
    try:
        pipe.recv()
    except (EOFError, OSError):
        signal.raise_signal(signal.SIGTERM)


def _address(member: Member) -> Addresses | None:
    """Wait until a member serves; None where it ended instead."""
    wait([member.pipe, member.process.sentinel])
    try:
        address: Addresses | None = member.pipe.recv() if member.pipe.poll() else None
    except (EOFError, OSError):
        return None
    return address


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
