"""The load generator: a process of its own that keeps a fixed number of calls under way (a closed loop) and
reports rate, latencies and CPU as one JSON object on standard output. `bench.py` runs it; by hand:
`python -m benchmarks.load --address HOST:PORT --path /forebay.v1.PredictionService/Predict --requests FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import uvloop

from benchmarks.cpu import cpu_s
from benchmarks.h2 import Connection, HeaderBlocks, body, header_blocks


def read_requests(path: Path) -> list[bytes]:
    """Return the prepared requests, each with its gRPC prefix."""
    return [body(message) for message in read_messages(path)]


def read_messages(path: Path) -> list[bytes]:
    """Return the prepared messages as they were written."""
    data = path.read_bytes()
    messages, start = [], 0
    while start < len(data):
        (size,) = struct.unpack_from(">L", data, start)
        messages.append(data[start + 4 : start + 4 + size])
        start += 4 + size
    return messages


def write_requests(path: Path, messages: Sequence[bytes]) -> None:
    """Write what `read_messages` reads: of each request a 4-byte big-endian length, and the message."""
    path.write_bytes(b"".join(struct.pack(">L", len(message)) + message for message in messages))


class ClosedLoop:
    """Keeps `concurrency` calls under way over at most `connections` connections until the time is up."""

    def __init__(
        self, requests: Sequence[bytes], blocks: HeaderBlocks, concurrency: int, connections: int
    ) -> None:
        self._requests = requests
        self._blocks = blocks
        self._concurrency = concurrency
        self._connection_count = min(connections, concurrency)
        self._started_s: list[dict[int, float]] = []
        self._connections: list[Connection] = []
        self._running = False
        self._idle: asyncio.Future[None]
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []
        self.failures = 0

    async def connect(self, host: str, port: int) -> None:
        """Open the connections. Raises: ConnectionError; ValueError where they can't hold that many."""
        loop = asyncio.get_running_loop()
        per_connection = -(-self._concurrency // self._connection_count)
        for number in range(self._connection_count):
            self._started_s.append({})
            ended = partial(self._ended, number)
            _, connection = await loop.create_connection(
                partial(Connection, self._blocks, ended, self._hung_up), host, port
            )
            self._connections.append(connection)
            await connection.ready
            if connection.max_streams < per_connection:
                raise ValueError(f"the server takes {connection.max_streams} calls a connection")

    async def run(self, seconds: float) -> float:
        """Load for `seconds`; return how long it was. Answers that come later are waited for, not counted.

        Raises: ConnectionError where the server hangs up meanwhile.
        """
        self.latencies_s, self.failures, self._running = [], 0, True
        self._idle = asyncio.get_running_loop().create_future()
        start_s = time.perf_counter()
        for number in range(self._concurrency):
            self._call(number % self._connection_count)
        await asyncio.wait([self._lost], timeout=seconds)
        self._running = False
        elapsed_s = time.perf_counter() - start_s
        await asyncio.wait([self._idle, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()
        return elapsed_s

    @property
    def response_bytes(self) -> int:
        """The size of the message that was answered last."""
        return self._connections[0].response_bytes

    @property
    def problem(self) -> str:
        """What one of the calls that failed was told."""
        return next((connection.problem for connection in self._connections if connection.problem), "")

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()

    def _call(self, number: int) -> None:
        message = self._requests[int(random.random() * len(self._requests))]
        now_s = time.perf_counter()
        self._started_s[number][self._connections[number].call(message)] = now_s

    def _ended(self, number: int, stream: int, ok: bool) -> None:
        started_s = self._started_s[number].pop(stream, None)
        if started_s is None:
            return  # reset after it had ended
        if self._running:
            if ok:
                self.latencies_s.append(time.perf_counter() - started_s)
            else:
                self.failures += 1
            self._call(number)
        elif not any(self._started_s) and not self._idle.done():
            self._idle.set_result(None)

    def _hung_up(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_exception(ConnectionError(reason))


class Loop(Protocol):
    """What a closed loop knows after a run."""

    latencies_s: list[float]
    failures: int

    @property
    def response_bytes(self) -> int: ...


@contextmanager
def account(pids: Sequence[int]) -> Iterator[list[float]]:
    """Yield a list that holds, once the block has ended, the seconds of CPU that were used in it: by this
    process, then by each of `pids`."""
    everybody = [os.getpid(), *pids]
    used_s: list[float] = []
    before_s = [cpu_s(pid) for pid in everybody]
    yield used_s
    used_s += [cpu_s(pid) - before for pid, before in zip(everybody, before_s, strict=True)]


def report(loop: Loop, elapsed_s: float, used_s: Sequence[float]) -> dict[str, Any]:
    """Return what was measured. Units as named; CPU per call is of the watched processes, in their order."""
    client_s, *watched_s = used_s
    calls = len(loop.latencies_s)
    latencies_us = np.array(loop.latencies_s or [np.nan]) * 1e6
    return {
        "calls": calls,
        "failures": loop.failures,
        "rate_per_s": calls / elapsed_s,
        "p50_us": float(np.percentile(latencies_us, 50)),
        "p99_us": float(np.percentile(latencies_us, 99)),
        "client_cpu_ratio": client_s / elapsed_s,
        "client_cpu_us_per_call": client_s / max(calls, 1) * 1e6,
        "watched_cpu_us_per_call": [watched / max(calls, 1) * 1e6 for watched in watched_s],
        "response_bytes": loop.response_bytes,
    }


async def _main(options: argparse.Namespace) -> dict[str, Any]:
    host, _, port = options.address.rpartition(":")
    blocks = header_blocks(options.path, options.timeout)
    loop = ClosedLoop(read_requests(options.requests), blocks, options.concurrency, options.connections)
    await loop.connect(host, int(port))
    gc.freeze()
    await loop.run(options.warmup)
    with account(options.watch) as used_s:
        elapsed_s = await loop.run(options.seconds)
    loop.close()
    return report(loop, elapsed_s, used_s) | {"problem": loop.problem}


def main() -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT")
    parser.add_argument("--path", required=True, help="/package.Service/Method")
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--timeout", default="1S", help="grpc-timeout of each call")
    parser.add_argument("--watch", type=int, action="append", default=[], help="PID to account CPU of")
    json.dump(uvloop.run(_main(parser.parse_args())), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
