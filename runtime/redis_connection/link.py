"""One socket to Redis: requests go out as they come, replies are matched to the waiting in order.

A link lives once: whatever goes wrong on it fails everybody who waits and ends it.
`connection` makes the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import Any, cast

import hiredis
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded, Error, InvalidRequest, Unavailable

from runtime.clock import Clock
from runtime.redis_connection.errors import ProtocolError, RedisReplyError, again
from runtime.redis_settings import RedisSettings

_INCOMPLETE = object()
_SWEEP_INTERVAL_S = 0.001
"""Shortest time between two sweeps; a deadline is enforced at most this much late, plus the loop's lag."""


class _Waiter:
    """Who waits for the next `count` replies. The future may be done already: then they are dropped."""

    __slots__ = ("count", "deadline_s", "future", "replies", "sent_s", "size")

    def __init__(
        self, future: asyncio.Future[Any], count: int, size: int, sent_s: float, deadline_s: float
    ) -> None:
        self.future = future
        self.count = count  # 0: a single reply, not a list
        self.size = size
        self.sent_s = sent_s
        self.deadline_s = deadline_s
        self.replies: list[Any] = []


class Link(asyncio.Protocol):
    """A socket and the queue of those who wait for its replies.

    Deadlines cost no timer per call: one sweep is due at the earliest moment that anybody's deadline, or the
    bound on silence, can pass. A call whose deadline lies later than that (all calls of one budget do) only
    compares; a sweep looks at everybody who waits and sets the next. Who was swept or cancelled keeps the
    place in the queue, and the reply that belongs there is dropped.
    """

    def __init__(self, settings: RedisSettings, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._max_bytes = settings.max_unanswered_bytes
        self._max_age_s = settings.max_unanswered_age_s
        self._reader = hiredis.Reader(
            protocolError=ProtocolError, replyError=RedisReplyError, notEnoughData=_INCOMPLETE
        )
        self._waiting: deque[_Waiter] = deque()
        self._unanswered_bytes = 0
        self._answered_s = -inf
        self._sweep_s = inf
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._failure: Error | None = None
        self.lost: asyncio.Future[Error] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()

    def send(self, request: bytes, count: int, deadline: Deadline) -> asyncio.Future[Any]:
        """Write `request` and return the future of its reply (`count` 0) or of its list of `count` replies.

        Raises: DeadlineExceeded where the deadline has passed; InvalidRequest where the request alone is over
        the bound on unanswered bytes; Unavailable where the link is down or its backlog full.
        """
        if self._failure is not None:
            raise again(self._failure)
        now_s = self._clock.monotonic_s()
        if deadline.at_s <= now_s:
            raise DeadlineExceeded("the deadline passed before Redis was asked")
        size = len(request)
        if self._unanswered_bytes + size > self._max_bytes:
            self._refuse(size)
        future = self._loop.create_future()
        self._waiting.append(_Waiter(future, count, size, now_s, deadline.at_s))
        self._unanswered_bytes += size
        cast(asyncio.Transport, self._transport).write(request)
        due_s = min(deadline.at_s, now_s + self._max_age_s)
        if due_s < self._sweep_s:
            self._sweep_at(due_s, now_s)
        return future

    def fail(self, failure: Error) -> None:
        """End the link: who waits gets `failure`, the socket is dropped, `lost` is told."""
        if self._failure is not None:
            return
        self._failure = failure
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.future.done():
                waiter.future.set_exception(again(failure))
        self.lost.set_result(failure)

    async def end(self, failure: Error) -> None:
        """Fail the link and wait until its socket is gone."""
        self.fail(failure)
        if self._transport is not None:
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        waiting = self._waiting
        gets = self._reader.gets
        try:
            self._reader.feed(data)
            reply = gets()
            while reply is not _INCOMPLETE:
                waiter = waiting[0]
                if waiter.count == 0:
                    del waiting[0]
                elif self._is_whole(waiter, reply):
                    reply = waiter.replies
                    del waiting[0]
                else:
                    reply = gets()
                    continue
                self._unanswered_bytes -= waiter.size
                if not waiter.future.done():
                    waiter.future.set_result(reply)
                reply = gets()
        except ProtocolError:
            self.fail(Unavailable("what answers isn't a Redis server: its bytes are no replies"))
        except IndexError:
            self.fail(Unavailable("Redis sent a reply that nobody asked for"))
        self._answered_s = self._clock.monotonic_s()

    def eof_received(self) -> bool:
        self.fail(Unavailable("Redis closed the connection"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        cause = f": {getattr(exc, 'strerror', None) or type(exc).__name__}" if exc else ""
        self.fail(Unavailable(f"the connection to Redis was lost{cause}"))
        self._closed.set_result(None)

    def _is_whole(self, waiter: _Waiter, reply: Any) -> bool:
        waiter.replies.append(reply)
        return len(waiter.replies) == waiter.count

    def _refuse(self, size: int) -> None:
        if size > self._max_bytes:
            raise InvalidRequest(
                f"one request to Redis has {size} bytes, over redis.max_unanswered_bytes ({self._max_bytes})"
            )
        failure = Unavailable(f"over {self._max_bytes} bytes of requests to Redis are unanswered")
        self.fail(failure)
        raise again(failure)

    def _sweep_at(self, due_s: float, now_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sweep_s = due_s
        self._timer = self._loop.call_later(due_s - now_s, self.sweep)

    def sweep(self) -> None:
        """Give up on those whose deadline has passed, and on the link where it was silent for too long."""
        self._timer = None
        self._sweep_s = inf
        if not self._waiting:
            return
        now_s = self._clock.monotonic_s()
        silent_at_s = max(self._waiting[0].sent_s, self._answered_s) + self._max_age_s
        if now_s >= silent_at_s:
            self.fail(Unavailable(f"Redis was silent for {self._max_age_s:g} s with requests waiting"))
            return
        next_s = min(silent_at_s, self._expire(now_s))
        self._sweep_at(max(next_s, now_s + _SWEEP_INTERVAL_S), now_s)

    def _expire(self, now_s: float) -> float:
        """Fail the waiting whose deadline has passed; return the earliest deadline of the others."""
        earliest_s = inf
        for waiter in self._waiting:
            if waiter.deadline_s > now_s:
                earliest_s = min(earliest_s, waiter.deadline_s)
            else:
                waiter.deadline_s = inf
                if not waiter.future.done():
                    waiter.future.set_exception(DeadlineExceeded("Redis didn't answer before the deadline"))
        return earliest_s
