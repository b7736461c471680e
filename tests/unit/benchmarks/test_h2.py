"""The load generator's HTTP/2: what it sends, and what it makes of what comes back."""

from __future__ import annotations

import asyncio
import struct

import pytest

from benchmarks.h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW_BYTES,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    body,
    frame,
    header_blocks,
)

GOOD_TRAILERS = b"\xbe\x00\x0cgrpc-message\x00"
BAD_TRAILERS = b"\xbe\x00\x0cgrpc-message\x04oops"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")


@pytest.fixture
async def calls() -> tuple[Connection, Wire, list[tuple[int, bool]], list[str]]:
    ended: list[tuple[int, bool]] = []
    lost: list[str] = []
    blocks = header_blocks("/bench.Echo/Say", "1S")
    connection = Connection(blocks, lambda stream, ok: ended.append((stream, ok)), lost.append)
    wire = Wire()
    connection.connection_made(wire)
    wire.written.clear()
    return connection, wire, ended, lost


Calls = tuple[Connection, Wire, list[tuple[int, bool]], list[str]]


def answer(stream: int, trailers: bytes, message: bytes = b"answer") -> bytes:
    return (
        frame(HEADERS, END_HEADERS, stream, b"\x88")
        + frame(DATA, 0, stream, body(message))
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
    )


async def test_only_the_first_call_spells_its_headers_out_when_many_are_made(calls: Calls) -> None:
    connection, wire, _, _ = calls
    assert [connection.call(body(b"x")) for _ in range(3)] == [1, 3, 5]
    first, second, third = wire.written
    assert b"/bench.Echo/Say" in first
    assert len(second) == len(third) == len(first) - len(header_blocks("/bench.Echo/Say", "1S").first) + 7


async def test_a_call_ends_well_when_a_message_and_empty_error_text_come(calls: Calls) -> None:
    connection, _, ended, _ = calls
    connection.data_received(answer(1, GOOD_TRAILERS))
    assert ended == [(1, True)]
    assert connection.response_bytes == len(b"answer")


async def test_a_call_ends_badly_when_an_error_text_comes_even_behind_a_message(calls: Calls) -> None:
    connection, _, ended, _ = calls
    connection.data_received(answer(1, BAD_TRAILERS))
    connection.data_received(frame(HEADERS, END_HEADERS | END_STREAM, 3, GOOD_TRAILERS))
    connection.data_received(frame(RST_STREAM, 0, 5, struct.pack(">L", 8)))
    assert ended == [(1, False), (3, False), (5, False)]


async def test_what_a_failed_call_was_told_is_kept_when_the_trailers_say_it(calls: Calls) -> None:
    connection, _, _, _ = calls
    trailers = b"\x40\x0bgrpc-status\x018\x40\x0cgrpc-message\x13too many requests: 9\x0bgrpc-status"
    connection.data_received(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
    assert connection.problem == "too many requests: 9"


async def test_frames_are_understood_when_they_come_byte_by_byte(calls: Calls) -> None:
    connection, _, ended, _ = calls
    for byte in answer(1, GOOD_TRAILERS) + answer(3, GOOD_TRAILERS, b"longer answer"):
        connection.data_received(bytes([byte]))
    assert ended == [(1, True), (3, True)]
    assert connection.response_bytes == len(b"longer answer")


async def test_a_message_in_several_frames_is_counted_whole_when_it_is_long(calls: Calls) -> None:
    connection, _, ended, _ = calls
    data = frame(DATA, 0, 1, body(b"a" * 100)) + frame(DATA, 0, 1, b"b" * 50)
    connection.data_received(data + frame(HEADERS, END_HEADERS | END_STREAM, 1, GOOD_TRAILERS))
    assert ended == [(1, True)]
    assert connection.response_bytes == 150


async def test_calls_wait_when_the_window_has_no_room(calls: Calls) -> None:
    connection, wire, _, _ = calls
    message = body(b"m" * 16_000)
    for _ in range(6):
        connection.call(message)
    assert len(wire.written) == FIRST_WINDOW_BYTES // len(message) == 4
    connection.data_received(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", len(message))))
    assert len(wire.written) == 5


async def test_settings_are_acknowledged_when_they_come(calls: Calls) -> None:
    connection, wire, _, _ = calls
    connection.data_received(frame(SETTINGS, 0, 0, struct.pack(">HL", 3, 256)))
    assert wire.written == [frame(SETTINGS, 1, 0, b"")]
    assert connection.max_streams == 256
    await connection.ready


async def test_the_loss_is_told_once_when_the_server_goes_away(calls: Calls) -> None:
    connection, _, _, lost = calls
    connection.data_received(frame(GOAWAY, 0, 0, bytes(8)))
    connection.connection_lost(None)
    assert len(lost) == 1
    assert connection.ready.exception() is not None


def test_a_request_is_refused_when_it_needs_two_frames() -> None:
    with pytest.raises(ValueError, match="at most"):
        body(bytes(16_384))


async def test_a_call_that_is_given_up_is_reset_when_it_was_sent_and_dropped_when_it_wasnt(
    calls: Calls,
) -> None:
    connection, wire, _, _ = calls
    message = body(b"m" * 16_000)
    streams = [connection.call(message) for _ in range(6)]
    connection.cancel(streams[0])
    assert wire.written[-1] == frame(RST_STREAM, 0, streams[0], struct.pack(">L", 8))
    sent = len(wire.written)
    connection.cancel(streams[4])
    assert len(wire.written) == sent
    connection.data_received(frame(WINDOW_UPDATE, 0, 0, struct.pack(">L", 2 * len(message))))
    assert len(wire.written) == sent + 1


def test_metadata_is_in_the_headers_when_a_call_carries_some() -> None:
    blocks = header_blocks("/bench.Echo/Say", "1S", {"forebay-criticality": "critical"})
    assert b"\x13forebay-criticality\x08critical" in blocks.first
    assert len(blocks.rest) == 8
