"""The calls that a server has taken, and the connections they come on: what a drain waits for and ends."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime.rpc.call import Context
from runtime.rpc.stopping import Stopping


class Traffic:
    """Counts of one server's calls; those of health and reflection are left out.

    begun: calls that were given to a handler.
    ended: those of them whose answer is written, or that were cancelled.
    refused: calls that were turned away because the server stops, before any work.
    """

    __slots__ = ("_idle", "begun", "ended", "refused", "stopping")

    def __init__(self) -> None:
        self.stopping = Stopping()
        self.begun = 0
        self.ended = 0
        self.refused = 0
        self._idle = asyncio.Event()

    @property
    def under_way(self) -> int:
        """Calls that have begun and not ended."""
        return self.begun - self.ended

    def take(self, context: Context) -> None:
        """Count a call until gRPC has written its answer, which is later than its handler returns."""
        if self.stopping.begun:
            self.refused += 1
        else:
            self.begun += 1
            done: Any = self._end  # the stubs want a class of theirs
            context.add_done_callback(done)

    async def idle(self, longest_s: float) -> bool:
        """Wait until no call is under way, `longest_s` at the most; return whether that is so."""
        self._idle.clear()
        if self.under_way:
            with suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await self._idle.wait()
        return not self.under_way

    def _end(self, _context: Context) -> None:
        self.ended += 1
        if self.ended == self.begun:
            self._idle.set()


def close_listener(port: int) -> None:
    """Take this process off its `port`: who connects from now on goes to another process there, or is told at
    once that nobody listens.

    gRPC can't close its listener and go on answering; it notes the end of this one in its log as "Closing
    acceptor. Failed accept4". Where the system doesn't let a listener be shut down (macOS) it stays open
    until the server is closed.
    """
    for socket_ in _sockets(port):
        with socket_:
            if socket_.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                with suppress(OSError):
                    socket_.shutdown(socket.SHUT_RDWR)


def hang_up(port: int) -> int:
    """Send this process's last word on every connection to its `port`; return how many there were.

    A caller gets all that was written, then the end of the connection: what it has sent since is UNAVAILABLE
    to it. gRPC itself would end what it has not given to a handler as CANCELLED, which clients don't retry.
    """
    count = 0
    for connection in _sockets(port):
        with connection:
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # a listener; or the peer was quicker
                continue
            count += 1
    return count


def _sockets(port: int) -> Iterator[socket.socket]:
    """Yield this process's sockets on its own `port`, each as one of our own to be closed.

    gRPC doesn't give its sockets out; the system does.
    """
    for entry in tuple(Path("/dev/fd").iterdir()):
        number = int(entry.name)
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            found = socket.socket(fileno=os.dup(number))
        except OSError:  # closed meanwhile; the directory's own descriptor is
            continue
        if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
            yield found
        else:
            found.close()
