"""The least of HTTP/1.1 that a keep-alive POST needs, so that the load generator costs little beside the
server it measures: prebuilt requests out, a status and a length in. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"
_OK = b"HTTP/1.1 200"


def request(path: str, body: bytes) -> bytes:
    """Return a POST of JSON as it goes out."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class HttpConnection(asyncio.Protocol):
    """One connection with at most one request under way; `on_end(ok, body_bytes)` tells when it has ended,
    `on_lost(reason)` that none will any more."""

    def __init__(self, on_end: Callable[[bool, int], None], on_lost: Callable[[str], None]) -> None:
        self._on_end = on_end
        self._on_lost = on_lost
        self._buffer = b""
        self._closing = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._on_lost("the server hung up" if error is None else f"the connection broke: {error}")

    def send(self, message: bytes) -> None:
        """Start a request."""
        self._transport.write(message)

    def close(self) -> None:
        """Hang up."""
        self._closing = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(_END_OF_HEADERS)
        if end < 0:
            self._buffer = buffer
            return
        length = _content_length(buffer[:end])
        if len(buffer) < end + len(_END_OF_HEADERS) + length:
            self._buffer = buffer
            return
        self._buffer = b""
        self._on_end(buffer.startswith(_OK), length)


def _content_length(head: bytes) -> int:
    """Return the length that the headers state. Raises: ValueError where they state none."""
    place = head.lower().find(_LENGTH)
    if place < 0:
        raise ValueError("an answer without content-length: the load generator reads no other")
    return int(head[place + len(_LENGTH) :].split(b"\r\n", 1)[0])
