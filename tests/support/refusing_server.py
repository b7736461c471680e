"""A server that speaks just enough HTTP/2 to go away with a client's first calls unseen, which gRPC's servers
do only in races, and to answer the next with an empty message."""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, GOAWAY = 0, 1, 4, 7
END_STREAM = ACK = 1
END_HEADERS = 4
STATUS_200 = b"\x88"  # from HPACK's static table


class RefusingServer:
    """A context that listens on `address`; `calls` counts what came, the refused ones included."""

    def __init__(self, refused: int) -> None:
        self.address = ""
        self.calls = 0
        self._refused = refused
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> RefusingServer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        writer.write(_frame(SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == SETTINGS and not flags & ACK:
                writer.write(_frame(SETTINGS, ACK, 0))
            elif kind == DATA and flags & END_STREAM:
                self.calls += 1
                writer.write(_goaway() if self.calls <= self._refused else _answer(stream))


def _goaway() -> bytes:
    """No error, and no stream was looked at."""
    return _frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0))


def _answer(stream: int) -> bytes:
    head = STATUS_200 + _literal(b"content-type", b"application/grpc")
    empty_message = bytes(5)
    return (
        _frame(HEADERS, END_HEADERS, stream, head)
        + _frame(DATA, 0, stream, empty_message)
        + _frame(HEADERS, END_HEADERS | END_STREAM, stream, _literal(b"grpc-status", b"0"))
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header without indexing or Huffman code."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value
