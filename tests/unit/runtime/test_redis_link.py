"""A link over a transport that only records: no socket, time stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from forebay.deadline import NEVER, Deadline
from forebay.errors import DeadlineExceeded, InvalidRequest, Unavailable

from runtime.clock import ManualClock
from runtime.redis_connection.link import Link
from runtime.redis_connection.script import RedisScript
from runtime.redis_settings import RedisSettings


class RecordingTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def transport() -> RecordingTransport:
    return RecordingTransport()


@pytest.fixture
async def link(clock: ManualClock, transport: RecordingTransport) -> Link:
    link = Link(RedisSettings(max_unanswered_bytes=100, max_unanswered_age_s=60), clock)
    link.connection_made(transport)
    return link


async def test_replies_reach_their_callers_when_they_come_in_pieces(link: Link) -> None:
    one, many, last = link.send(b"a", 0, NEVER), link.send(b"b", 2, NEVER), link.send(b"c", 0, NEVER)
    for place in range(len(stream := b"+one\r\n:2\r\n$-1\r\n*1\r\n$1\r\nx\r\n")):
        link.data_received(stream[place : place + 1])
    assert [await one, await many, await last] == [b"one", [2, None], [b"x"]]


async def test_reply_is_dropped_when_its_caller_has_gone(link: Link) -> None:
    gone, kept = link.send(b"a", 0, NEVER), link.send(b"b", 0, NEVER)
    gone.cancel()
    link.data_received(b"+gone\r\n+kept\r\n")
    assert await kept == b"kept"


async def test_only_the_late_fail_when_a_deadline_passes(link: Link, clock: ManualClock) -> None:
    start_s = clock.monotonic_s()
    late, kept = link.send(b"a", 0, Deadline(start_s + 1)), link.send(b"b", 0, Deadline(start_s + 3))
    clock.advance(2)
    link.sweep()
    assert isinstance(late.exception(), DeadlineExceeded)
    link.data_received(b"+late\r\n+kept\r\n")
    assert await kept == b"kept"


async def test_nothing_is_written_when_the_deadline_has_passed(
    link: Link, clock: ManualClock, transport: RecordingTransport
) -> None:
    with pytest.raises(DeadlineExceeded):
        link.send(b"a", 0, Deadline(clock.monotonic_s()))
    assert transport.written == []


async def test_all_fail_when_the_server_is_silent(
    link: Link, clock: ManualClock, transport: RecordingTransport
) -> None:
    waiting = [link.send(b"a", 0, NEVER), link.send(b"b", 2, NEVER)]
    clock.advance(61)
    link.sweep()
    for future in waiting:
        assert isinstance(future.exception(), Unavailable)
    assert transport.aborted
    assert link.lost.done()
    with pytest.raises(Unavailable, match="silent"):
        link.send(b"c", 0, NEVER)


async def test_silence_counts_from_the_last_reply_when_some_came(link: Link, clock: ManualClock) -> None:
    waiting = [link.send(b"a", 0, NEVER), link.send(b"b", 0, NEVER)]
    clock.advance(50)
    link.data_received(b"+a\r\n")
    clock.advance(50)
    link.sweep()
    assert not waiting[1].done()
    clock.advance(10)
    link.sweep()
    assert isinstance(waiting[1].exception(), Unavailable)


async def test_link_ends_when_too_many_bytes_are_unanswered(
    link: Link, transport: RecordingTransport
) -> None:
    waiting = link.send(b"x" * 60, 0, NEVER)
    with pytest.raises(Unavailable, match="over 100 bytes"):
        link.send(b"x" * 41, 0, NEVER)
    assert isinstance(waiting.exception(), Unavailable)
    assert transport.aborted


async def test_link_lives_when_answered_bytes_make_room(link: Link) -> None:
    link.send(b"x" * 60, 0, NEVER)
    link.data_received(b"+a\r\n")
    link.send(b"x" * 100, 0, NEVER)
    link.data_received(b"+a\r\n")
    assert not link.lost.done()


async def test_request_is_refused_when_it_alone_is_over_the_bound(link: Link) -> None:
    with pytest.raises(InvalidRequest, match="max_unanswered_bytes"):
        link.send(b"x" * 101, 0, NEVER)
    assert not link.lost.done()


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400 Bad Request\r\n", b"+a\r\n+nobody asked\r\n"])
async def test_link_ends_when_the_stream_makes_no_sense(link: Link, stream: bytes) -> None:
    link.send(b"a", 0, NEVER)
    link.data_received(stream)
    assert isinstance(link.lost.result(), Unavailable)


def test_script_is_named_by_its_hash() -> None:
    assert RedisScript("return 1").sha == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
