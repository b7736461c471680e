"""One long call of many messages each way, as StreamPredict has: requests as they are sent, answers cut out
of the bytes that come. Source: RFC 9113, "gRPC over HTTP2".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

from benchmarks.h2 import (
    ACK,
    DATA,
    END_HEADERS,
    FIRST_WINDOW_BYTES,
    HEADERS,
    INITIAL_WINDOW,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    HeaderBlocks,
    frame,
)

_PREFIX = struct.Struct(">BL")
_RECEIVED_BYTES = 2**30
"""After so many bytes of answers the server is told that it may send as many more."""


class MessageStream(Connection):
    """A connection with one call that stays open: `send` a message, `on_message` gets each answer's bytes.

    A message that the server's windows have no room for waits for it.
    """

    def __init__(
        self,
        blocks: HeaderBlocks,
        on_message: Callable[[bytes], None],
        on_end: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__(blocks, lambda _stream, _ok: on_end(), on_lost, self._piece)
        self._on_message = on_message
        self._call_block = blocks.first
        self._stream_window = FIRST_WINDOW_BYTES
        self._initial_window = FIRST_WINDOW_BYTES
        self._unsent: deque[bytes] = deque()
        self._partial = b""
        self._unacknowledged_bytes = 0

    def open(self) -> None:
        """Begin the call."""
        self._transport.write(frame(HEADERS, END_HEADERS, 1, self._call_block))

    def send(self, message: bytes) -> None:
        """Send a message with its gRPC prefix."""
        self._unsent.append(message)
        self._flush()

    def _flush(self) -> None:
        unsent = self._unsent
        while unsent and len(unsent[0]) <= min(self._window, self._stream_window):
            message = unsent.popleft()
            self._window -= len(message)
            self._stream_window -= len(message)
            self._transport.write(frame(DATA, 0, 1, message))

    def _piece(self, _stream: int, data: bytes) -> None:
        self._unacknowledged_bytes += len(data)
        if self._unacknowledged_bytes > _RECEIVED_BYTES:
            self._transport.write(frame(WINDOW_UPDATE, 0, 1, struct.pack(">L", self._unacknowledged_bytes)))
            self._unacknowledged_bytes = 0
        buffer = self._partial + data if self._partial else data
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            _, size = _PREFIX.unpack_from(buffer, start)
            end = start + _PREFIX.size + size
            if end > len(buffer):
                break
            self._on_message(buffer[start + _PREFIX.size : end])
            start = end
        self._partial = buffer[start:]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream == 1:
            self._stream_window += struct.unpack(">L", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HL", payload):
                if number == INITIAL_WINDOW:
                    self._stream_window += value - self._initial_window
                    self._initial_window = value
        super()._control(kind, flags, stream, payload)
        self._flush()
