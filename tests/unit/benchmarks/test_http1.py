"""The load generator's HTTP/1.1: what it sends, and what it makes of what comes back."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.http1 import HttpConnection, request


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")


Calls = tuple[HttpConnection, list[tuple[bool, int]], list[str]]


@pytest.fixture
def calls() -> Calls:
    ended: list[tuple[bool, int]] = []
    lost: list[str] = []
    connection = HttpConnection(lambda ok, size: ended.append((ok, size)), lost.append)
    connection.connection_made(Wire())
    return connection, ended, lost


def test_a_request_states_its_length_when_it_is_made() -> None:
    sent = request("/rank", b'{"item_id": 1}')
    assert sent.startswith(b"POST /rank HTTP/1.1\r\n")
    assert b"content-length: 14\r\n" in sent
    assert sent.endswith(b'\r\n\r\n{"item_id": 1}')


def test_an_answer_is_understood_when_it_comes_byte_by_byte(calls: Calls) -> None:
    connection, ended, _ = calls
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nserver: x\r\n\r\nhello"
    for byte in answer + answer:
        connection.data_received(bytes([byte]))
    assert ended == [(True, 5), (True, 5)]


def test_an_answer_is_a_failure_when_its_status_says_so(calls: Calls) -> None:
    connection, ended, _ = calls
    connection.data_received(b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n")
    assert ended == [(False, 0)]


def test_the_loss_is_told_when_the_server_hangs_up_and_not_when_we_do(calls: Calls) -> None:
    connection, _, lost = calls
    connection.connection_lost(None)
    assert lost == ["the server hung up"]
    connection.close()
    connection.connection_lost(None)
    assert len(lost) == 1
