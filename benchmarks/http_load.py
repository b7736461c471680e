"""The load generator for servers that speak HTTP/1.1: a closed loop as `load.py`, with the same report; each
of the `concurrency` requests under way has a connection of its own."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.http1 import HttpConnection, request
from benchmarks.load import account, read_messages, report


class HttpLoop:
    """Keeps one request under way on each connection until the time is up."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._requests = requests
        self._connections: list[HttpConnection] = []
        self._started_s: list[float] = []
        self._under_way = 0
        self._running = False
        self._idle: asyncio.Future[None]
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []
        self.failures = 0
        self.response_bytes = 0

    async def connect(self, host: str, port: int, connections: int) -> None:
        """Open the connections. Raises: OSError."""
        loop = asyncio.get_running_loop()
        for number in range(connections):
            connection = HttpConnection(partial(self._ended, number), self._hung_up)
            await loop.create_connection(partial(_itself, connection), host, port)
            self._connections.append(connection)
            self._started_s.append(0.0)

    async def run(self, seconds: float) -> float:
        """Load for `seconds`; return how long it was. Answers that come later are waited for, not counted.

        Raises: ConnectionError where the server hangs up meanwhile.
        """
        self.latencies_s, self.failures, self._running = [], 0, True
        self._idle = asyncio.get_running_loop().create_future()
        start_s = time.perf_counter()
        for number in range(len(self._connections)):
            self._send(number)
        await asyncio.wait([self._lost], timeout=seconds)
        self._running = False
        elapsed_s = time.perf_counter() - start_s
        await asyncio.wait([self._idle, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()
        return elapsed_s

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()

    def _send(self, number: int) -> None:
        self._under_way += 1
        self._started_s[number] = time.perf_counter()
        self._connections[number].send(self._requests[int(random.random() * len(self._requests))])

    def _ended(self, number: int, ok: bool, body_bytes: int) -> None:
        self._under_way -= 1
        if self._running:
            if ok:
                self.latencies_s.append(time.perf_counter() - self._started_s[number])
                self.response_bytes = body_bytes
            else:
                self.failures += 1
            self._send(number)
        elif not self._under_way and not self._idle.done():
            self._idle.set_result(None)

    def _hung_up(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_exception(ConnectionError(reason))


def _itself(connection: HttpConnection) -> HttpConnection:
    return connection


async def _main(options: argparse.Namespace) -> dict[str, Any]:
    host, _, port = options.address.rpartition(":")
    loop = HttpLoop([request(options.path, body) for body in read_messages(options.requests)])
    await loop.connect(host, int(port), options.concurrency)
    gc.freeze()
    await loop.run(options.warmup)
    with account(options.watch) as used:
        elapsed_s = await loop.run(options.seconds)
    loop.close()
    return report(loop, elapsed_s, used)


def main() -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT")
    parser.add_argument("--path", required=True, help="/where")
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--watch", type=int, action="append", default=[], help="PID to account CPU of")
    json.dump(uvloop.run(_main(parser.parse_args())), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
