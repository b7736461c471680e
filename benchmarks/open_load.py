"""The open loop: a process of its own that makes calls when they are due, whether or not earlier ones have
been answered, waits on for a while after their deadlines, so that what comes late is seen, and reports what
became of them as one JSON object. By hand:
`python -m benchmarks.open_load --phase SECONDS:RATE --address HOST:PORT --path METHOD --requests FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from forebay.v1.prediction_pb2 import PredictResponse

from benchmarks.arrivals import STEP_S, Outcome, Outcomes, Phase, Schedule, poisson
from benchmarks.h2 import Connection, HeaderBlocks, header_blocks
from benchmarks.load import account, read_requests

_PREFIX_BYTES = 5
_PATIENCE = 2.5
"""After so many times its deadline a call that hasn't ended is given up."""
_CRITICALITY = "forebay-criticality"

Ended = Callable[[int, bool, bytes], None]
"""Is told which call ended, whether with an answer, and the answer's bytes where they are kept."""


class Line:
    """A connection, and which call each of its streams is."""

    def __init__(
        self, blocks: HeaderBlocks, ended: Ended, lost: Callable[[str], None], *, keeps: bool
    ) -> None:
        self.connection = Connection(blocks, self._end, lost, self._keep if keeps else None)
        self._ended = ended
        self._calls: dict[int, int] = {}
        self._answers: dict[int, bytes] = {}

    @property
    def has_room(self) -> bool:
        """Whether the server takes one more call on it."""
        return len(self._calls) < self.connection.max_streams

    def call(self, number: int, message: bytes) -> int:
        """Make a call; return its stream."""
        stream = self.connection.call(message)
        self._calls[stream] = number
        return stream

    def is_under_way(self, stream: int) -> bool:
        """Return whether a stream's call hasn't ended."""
        return stream in self._calls

    def give_up(self, stream: int) -> int | None:
        """Cancel a stream's call and return its number; None where it has ended."""
        number = self._calls.pop(stream, None)
        if number is not None:
            self._answers.pop(stream, None)
            self.connection.cancel(stream)
        return number

    def _end(self, stream: int, ok: bool) -> None:
        answer = self._answers.pop(stream, b"")
        number = self._calls.pop(stream, None)
        if number is not None:
            self._ended(number, ok, answer)

    def _keep(self, stream: int, data: bytes) -> None:
        if stream in self._calls:
            self._answers[stream] = self._answers.get(stream, b"") + data


class OpenLoop:
    """Makes the calls of a schedule. `inspects`: looks into each answer for degradations.

    A call whose lane has no stream left waits for one until its deadline, as it does in gRPC's clients.
    """

    def __init__(
        self, schedule: Schedule, requests: Sequence[bytes], timeout_s: float, *, inspects: bool
    ) -> None:
        self._schedule = schedule
        self._requests = requests
        self._timeout_s = timeout_s
        self._inspects = inspects
        self._lanes: list[list[Line]] = []
        self._waiting: list[deque[int]] = []
        self._expiring: deque[tuple[int, Line, int]] = deque()
        self._due_s: list[float] = schedule.due_s.tolist()
        self._lane: list[int] = schedule.lane.tolist()
        self._outcome = [int(Outcome.UNSENT)] * len(self._due_s)
        self._lag_s = [float("nan")] * len(self._due_s)
        self._latency_s = [float("nan")] * len(self._due_s)
        self._start_s = 0.0
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, host: str, port: int, lanes: Sequence[HeaderBlocks], connections: int) -> None:
        """Open each lane's connections. Raises: ConnectionError."""
        loop = asyncio.get_running_loop()
        for blocks in lanes:
            lines = [
                Line(blocks, self._ended, self._hung_up, keeps=self._inspects) for _ in range(connections)
            ]
            for line in lines:
                await loop.create_connection(partial(_given, line.connection), host, port)
                await line.connection.ready
            self._lanes.append(lines)
            self._waiting.append(deque())

    async def run(self) -> Outcomes:
        """Make the calls, wait for the last; return what became of them.

        Raises: ConnectionError where the server hangs up meanwhile.
        """
        self._start_s = time.perf_counter()
        place, count = 0, len(self._due_s)
        end_s = sum(phase.seconds for phase in self._schedule.phases)
        while True:
            now_s = time.perf_counter() - self._start_s
            self._give_up(now_s)
            while place < count and self._due_s[place] <= now_s:
                self._waiting[self._lane[place]].append(place)
                place += 1
            for lane in range(len(self._lanes)):
                self._send(lane)
            if place == count and now_s > end_s and not self._expiring:
                break
            await asyncio.wait([self._lost], timeout=0.001)
            if self._lost.done():
                self._lost.result()
        for lines in self._lanes:
            for line in lines:
                line.connection.close()
        arrays = (np.array(self._outcome), np.array(self._lag_s), np.array(self._latency_s))
        return Outcomes(self._schedule, *arrays)

    def _send(self, lane: int) -> None:
        waiting, lines = self._waiting[lane], self._lanes[lane]
        while waiting:
            lines.append(lines.pop(0))
            line = next((line for line in lines if line.has_room), None)
            if line is None:
                return
            number = waiting.popleft()
            stream = line.call(number, self._requests[int(random.random() * len(self._requests))])
            self._lag_s[number] = time.perf_counter() - self._start_s - self._due_s[number]
            self._outcome[number] = Outcome.EXPIRED  # until it ends otherwise
            self._expiring.append((number, line, stream))

    def _give_up(self, now_s: float) -> None:
        latest_due_s = now_s - self._timeout_s * _PATIENCE
        expiring = self._expiring
        while expiring:
            number, line, stream = expiring[0]
            if line.is_under_way(stream) and self._due_s[number] > latest_due_s:
                break
            expiring.popleft()
            line.give_up(stream)
        for waiting in self._waiting:
            while waiting and self._due_s[waiting[0]] <= now_s - self._timeout_s:
                waiting.popleft()

    def _ended(self, number: int, ok: bool, answer: bytes) -> None:
        latency_s = time.perf_counter() - self._start_s - self._due_s[number]
        self._latency_s[number] = latency_s
        if not ok:
            self._outcome[number] = Outcome.REFUSED
        elif latency_s > self._timeout_s:
            self._outcome[number] = Outcome.LATE
        elif self._inspects and PredictResponse.FromString(_message(answer)).degradations:
            self._outcome[number] = Outcome.DEGRADED
        else:
            self._outcome[number] = Outcome.GOOD

    def _hung_up(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_exception(ConnectionError(reason))


def _given(connection: Connection) -> Connection:
    return connection


def _message(answer: bytes) -> bytes:
    return answer[_PREFIX_BYTES:]


async def _main(options: argparse.Namespace) -> dict[str, Any]:
    host, _, port = options.address.rpartition(":")
    lanes = dict(_pair(text, str) for text in options.lane or ["default:1"])
    phases = [Phase(float(seconds), rate) for seconds, rate in (_pair(text, float) for text in options.phase)]
    schedule = poisson(phases, [float(share) for share in lanes.values()], options.seed)
    timeout = f"{round(options.timeout_s * 1e6)}u"
    blocks = [header_blocks(options.path, timeout, {_CRITICALITY: name}) for name in lanes]
    loop = OpenLoop(schedule, read_requests(options.requests), options.timeout_s, inspects=options.inspect)
    await loop.connect(host, int(port), blocks, options.connections)
    gc.freeze()
    start_s, began_at_s = time.perf_counter(), time.time()
    with account(options.watch) as used_s:
        outcomes = await loop.run()
    elapsed_s = time.perf_counter() - start_s
    return {
        "phases": outcomes.phases(list(lanes)),
        "began_at_s": began_at_s,
        "timeline": outcomes.timeline(STEP_S),
        "timeout_s": options.timeout_s,
        "client_cpu_ratio": used_s[0] / elapsed_s,
        "watched_cpu_ratio": [used / elapsed_s for used in used_s[1:]],
    }


def _pair(text: str, kind: Callable[[str], Any]) -> tuple[str, Any]:
    name, _, value = text.partition(":")
    return name, kind(value)


def main() -> int:
    """Run one load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT")
    parser.add_argument("--path", required=True, help="/package.Service/Method")
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument(
        "--phase", action="append", required=True, help="SECONDS:RATE; phases follow each other"
    )
    parser.add_argument("--lane", action="append", help="CRITICALITY:SHARE; default: default:1")
    parser.add_argument("--connections", type=int, default=4, help="of each lane")
    parser.add_argument("--timeout-s", type=float, default=0.1, help="each call's deadline")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--inspect", action="store_true", help="tell degraded answers of Predict from whole ones"
    )
    parser.add_argument("--watch", type=int, action="append", default=[], help="PID to account CPU of")
    json.dump(uvloop.run(_main(parser.parse_args())), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
