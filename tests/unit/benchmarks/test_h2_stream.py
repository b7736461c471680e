"""The load generator's stream of messages: windows on the way out, messages cut out on the way in."""

from __future__ import annotations

import asyncio
import struct

import pytest

from benchmarks.h2 import (
    DATA,
    FIRST_WINDOW_BYTES,
    HEADERS,
    INITIAL_WINDOW,
    SETTINGS,
    WINDOW_UPDATE,
    body,
    frame,
    header_blocks,
)
from benchmarks.h2_stream import MessageStream


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


Streams = tuple[MessageStream, Wire, list[bytes]]


@pytest.fixture
async def streams() -> Streams:
    messages: list[bytes] = []
    blocks = header_blocks("/bench.Echo/Talk", "1S")
    stream = MessageStream(blocks, messages.append, lambda: None, lambda _: None)
    wire = Wire()
    stream.connection_made(wire)
    stream.open()
    wire.written.clear()
    return stream, wire, messages


def data_frames(wire: Wire) -> int:
    return sum(written[3] == DATA for written in wire.written)


async def test_answers_are_cut_out_when_they_come_in_pieces(streams: Streams) -> None:
    stream, _, messages = streams
    both = body(b"first") + body(b"second answer")
    for piece in (both[:3], both[3:12], both[12:]):
        stream.data_received(frame(DATA, 0, 1, piece))
    assert messages == [b"first", b"second answer"]


async def test_messages_wait_when_a_window_has_no_room(streams: Streams) -> None:
    stream, wire, _ = streams
    message = body(b"m" * 16_000)
    for _ in range(6):
        stream.send(message)
    assert data_frames(wire) == FIRST_WINDOW_BYTES // len(message) == 4
    more = struct.pack(">L", 2 * len(message))
    stream.data_received(frame(WINDOW_UPDATE, 0, 0, more))
    assert data_frames(wire) == 4  # the call's own window is still full
    stream.data_received(frame(WINDOW_UPDATE, 0, 1, more))
    assert data_frames(wire) == 6


async def test_the_calls_window_grows_when_the_servers_settings_say_so(streams: Streams) -> None:
    stream, wire, _ = streams
    stream.data_received(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", 10**6)))
    stream.data_received(frame(SETTINGS, 0, 0, struct.pack(">HL", INITIAL_WINDOW, 10**6)))
    for _ in range(20):
        stream.send(body(b"m" * 16_000))
    assert data_frames(wire) == 20
    assert not any(written[3] == HEADERS for written in wire.written)
