"""The least of HTTP/2 that a unary gRPC call needs, so that the load generator costs little beside the server
it measures: prebuilt header blocks out, a scan of frame headers in.
Source: RFC 9113, RFC 7541, "gRPC over HTTP2".
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_STREAMS, INITIAL_WINDOW = 3, 4
WINDOW_BYTES = 2**30
FIRST_WINDOW_BYTES = 65_535
FRAME_BYTES = 16_384
_HEADER = struct.Struct(">HBBBL")  # length (16 + 8 bits), type, flags, stream
_PREFIX_BYTES = 5
_FIRST_DYNAMIC = 62
_TEXT = re.compile(rb"[ -~]{8,}")
_CANCEL = struct.pack(">L", 8)
_NO_MESSAGE = b"grpc-message\x00"


@dataclass(frozen=True, slots=True)
class HeaderBlocks:
    """The header block of one method: `first` teaches the peer the fields, `rest` refers to them.

    That is what gRPC's own clients do; a server spends more on fields that are spelled out every time.
    """

    first: bytes
    rest: bytes


def header_blocks(path: str, timeout: str, metadata: Mapping[str, str] | None = None) -> HeaderBlocks:
    """Return the blocks of calls to `path` with a `grpc-timeout`, and metadata that all of them carry."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"bench"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", timeout.encode()),
        *((name.encode(), value.encode()) for name, value in (metadata or {}).items()),
    )
    literals = b"".join(b"\x40" + _text(name) + _text(value) for name, value in fields)
    newest_last = range(_FIRST_DYNAMIC + len(fields) - 1, _FIRST_DYNAMIC - 1, -1)
    return HeaderBlocks(literals, bytes(0x80 | place for place in newest_last))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def body(message: bytes) -> bytes:
    """Return a gRPC message with its prefix, uncompressed. Raises: ValueError where it needs two frames."""
    if len(message) + _PREFIX_BYTES > FRAME_BYTES:
        raise ValueError(f"the load generator sends at most {FRAME_BYTES - _PREFIX_BYTES} bytes a request")
    return struct.pack(">BL", 0, len(message)) + message


def _text(text: bytes) -> bytes:
    if len(text) > 126:
        raise ValueError("a header of the load generator has at most 126 bytes")
    return bytes([len(text)]) + text


def _told(trailers: bytes) -> str:
    """Return the longest text in a header block: gRPC's error message, where there is one."""
    return max(_TEXT.findall(trailers), key=len, default=b"").decode("ascii")


class Connection(asyncio.Protocol):
    """One connection; `call` starts a call, `on_end(stream, ok)` tells when each has ended, `on_lost(reason)`
    that none will any more.

    `ok`: a message came, and trailers without an error's text (gRPC for Python sends an empty one on success,
    and forebay's errors all have one). A call that the peer's window has no room for waits for it. `on_data`,
    where given, gets each piece of an answer as it comes.
    """

    def __init__(
        self,
        blocks: HeaderBlocks,
        on_end: Callable[[int, bool], None],
        on_lost: Callable[[str], None],
        on_data: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._block = blocks.first
        self._later_block = blocks.rest
        self._on_end = on_end
        self._on_lost = on_lost
        self._on_data = on_data
        self._buffer = b""
        self._next = 1
        self._answered: dict[int, int] = {}
        self._received = 0
        self._window = FIRST_WINDOW_BYTES
        self._waiting: deque[tuple[int, bytes, int]] = deque()
        self._closing = False
        self._transport: asyncio.Transport
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.max_streams = 2**31
        self.response_bytes = 0
        self.problem = ""
        """What the trailers of the last call that failed say, as far as it is plain text."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack(">HLHL", INITIAL_WINDOW, 2**31 - 1, 2, 0)  # 2: no push
        window = struct.pack(">L", WINDOW_BYTES)
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost("the server hung up" if error is None else f"the connection broke: {error}")

    def call(self, message: bytes) -> int:
        """Start a call with a prefixed message; return its stream."""
        stream, self._next = self._next, self._next + 2
        frames = frame(HEADERS, END_HEADERS, stream, self._block) + frame(DATA, END_STREAM, stream, message)
        self._block = self._later_block
        if self._waiting or len(message) > self._window:
            self._waiting.append((stream, frames, len(message)))
        else:
            self._window -= len(message)
            self._transport.write(frames)
        return stream

    def cancel(self, stream: int) -> None:
        """Give a call up, as gRPC's clients do at its deadline; what still comes of it is not reported."""
        self._answered.pop(stream, None)
        for waiting in self._waiting:
            if waiting[0] == stream:
                self._waiting.remove(waiting)
                return
        self._transport.write(frame(RST_STREAM, 0, stream, _CANCEL))

    def close(self) -> None:
        """Hang up."""
        self._closing = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        start, size = 0, len(buffer)
        while size - start >= 9:
            high, low, kind, flags, stream = _HEADER.unpack_from(buffer, start)
            end = start + 9 + (high << 8 | low)
            if end > size:
                break
            if kind == DATA:
                self._data(stream, end - start - 9)
                if self._on_data is not None:
                    self._on_data(stream, buffer[start + 9 : end])
            elif kind == HEADERS:
                if flags & END_STREAM:
                    answered_bytes = self._answered.pop(stream, 0)
                    self.response_bytes = answered_bytes - _PREFIX_BYTES
                    ok = answered_bytes > 0 and buffer.find(_NO_MESSAGE, start, end) > 0
                    if not ok:
                        self.problem = _told(buffer[start + 9 : end])
                    self._on_end(stream, ok)
            else:
                self._control(kind, flags, stream, buffer[start + 9 : end])
            start = end
        self._buffer = buffer[start:]

    def _data(self, stream: int, size: int) -> None:
        self._answered[stream] = self._answered.get(stream, 0) + size
        self._received += size
        if self._received > WINDOW_BYTES // 2:
            self._transport.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", self._received)))
            self._received = 0

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += struct.unpack(">L", payload)[0]
            self._send_waiting()
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            self._answered.pop(stream, None)
            self._on_end(stream, False)
        elif kind == GOAWAY:
            self._lost("the server closes the connection in the middle of a measurement")

    def _settings(self, payload: bytes) -> None:
        for number, value in struct.iter_unpack(">HL", payload):
            if number == MAX_STREAMS:
                self.max_streams = value
        self._transport.write(frame(SETTINGS, ACK, 0, b""))
        if not self.ready.done():
            self.ready.set_result(None)

    def _send_waiting(self) -> None:
        while self._waiting and self._waiting[0][2] <= self._window:
            _, frames, size = self._waiting.popleft()
            self._window -= size
            self._transport.write(frames)

    def _lost(self, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(reason))
        self._on_lost(reason)
