"""The least that talking to Redis costs in Python: a blocking socket, hiredis to pack and to parse, nothing
else. The floor of every read and write of the store.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import hiredis

_RECEIVE_BYTES = 1 << 20
_CHUNK = 1_000
_IN_FLIGHT = 16


class RawStore:
    """A connection to the server at a unix socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()

    def __enter__(self) -> RawStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def execute(self, *command: bytes | str | int) -> Any:
        """Return the reply to one command. Raises: hiredis.HiredisError for an error reply."""
        self.send(*command)
        return self.receive()

    def send(self, *command: bytes | str | int) -> None:
        """Send a command, whose reply `receive` gives."""
        self._socket.sendall(_pack(command))

    def receive(self) -> Any:
        """Return the reply to the earliest command without one. Raises: hiredis.HiredisError for an error."""
        reply = self._reply()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def execute_many(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> None:
        """Send commands, pipelined: while the server works on some of them the next are packed.

        Raises: hiredis.HiredisError for an error reply.
        """
        under_way = 0
        for command in commands:
            self._socket.sendall(_pack(command))
            under_way += 1
            if under_way == _IN_FLIGHT:
                self._confirm(_IN_FLIGHT // 2)
                under_way -= _IN_FLIGHT // 2
        self._confirm(under_way)

    def set_many(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Store each row with a SET of its own, pipelined: while the server works on one chunk of a thousand
        the next is packed and sent.

        Raises: hiredis.HiredisError for an error reply.
        """
        under_way = 0
        for start in range(0, len(keys), _CHUNK):
            pairs = zip(keys[start : start + _CHUNK], rows[start : start + _CHUNK], strict=True)
            packed = [_pack((b"SET", key, row)) for key, row in pairs]
            self._socket.sendall(b"".join(packed))
            self._confirm(under_way)
            under_way = len(packed)
        self._confirm(under_way)

    def keys(self, pattern: str) -> Iterator[bytes]:
        """Yield the keys that match a pattern."""
        cursor = b"0"
        while True:
            cursor, found = self.execute("SCAN", cursor, "MATCH", pattern, "COUNT", 10_000)
            yield from found
            if cursor == b"0":
                return

    def used_memory_bytes(self) -> int:
        """Return what the server's allocator has given out, as INFO says."""
        text: bytes = self.execute("INFO", "memory")
        facts = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)
        return int(facts[b"used_memory"])

    def _confirm(self, count: int) -> None:
        for _ in range(count):
            reply = self._reply()
            if isinstance(reply, Exception):
                raise reply

    def _reply(self) -> Any:
        reply = self._reader.gets()
        while reply is False:  # hiredis: not whole yet
            self._reader.feed(self._socket.recv(_RECEIVE_BYTES))
            reply = self._reader.gets()
        return reply


_pack = cast(Callable[[tuple[bytes | str | int, ...]], bytes], hiredis.pack_command)
