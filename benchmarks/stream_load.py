"""The load generator for StreamPredict: a closed loop as `load.py`, with the same report, whose calls under
way are messages on one stream."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import struct
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from forebay.v1.prediction_pb2 import StreamPredictRequest

from benchmarks.h2 import header_blocks
from benchmarks.h2_stream import MessageStream
from benchmarks.load import account, read_messages, report

_ID_BYTES = 8
_ID = slice(2, 2 + _ID_BYTES)
_RESPONSE = 0x12
_CALL_TIMEOUT = "600S"
_MESSAGE_TIMEOUT_US = 1_000_000


class StreamLoop:
    """Keeps `concurrency` messages under way on one stream until the time is up."""

    def __init__(self, messages: Sequence[bytes], path: str, concurrency: int) -> None:
        self._rest = [_rest(message) for message in messages]
        self._concurrency = concurrency
        self._started_s: dict[bytes, float] = {}
        self._sent = 0
        self._running = False
        self._idle: asyncio.Future[None]
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended = partial(self._hung_up, "the server ended the stream")
        blocks = header_blocks(path, _CALL_TIMEOUT)
        self._stream = MessageStream(blocks, self._answered, ended, self._hung_up)
        self.latencies_s: list[float] = []
        self.failures = 0
        self.response_bytes = 0

    async def connect(self, host: str, port: int) -> None:
        """Open the stream. Raises: ConnectionError."""
        await asyncio.get_running_loop().create_connection(lambda: self._stream, host, port)
        await self._stream.ready
        self._stream.open()

    async def run(self, seconds: float) -> float:
        """Load for `seconds`; return how long it was. Answers that come later are waited for, not counted.

        Raises: ConnectionError where the server ends the stream meanwhile.
        """
        self.latencies_s, self.failures, self._running = [], 0, True
        self._idle = asyncio.get_running_loop().create_future()
        start_s = time.perf_counter()
        for _ in range(self._concurrency):
            self._send()
        await asyncio.wait([self._lost], timeout=seconds)
        self._running = False
        elapsed_s = time.perf_counter() - start_s
        await asyncio.wait([self._idle, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            self._lost.result()
        return elapsed_s

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def _send(self) -> None:
        self._sent += 1
        identity = b"%08d" % (self._sent % 10**_ID_BYTES)
        rest = self._rest[int(random.random() * len(self._rest))]
        self._started_s[identity] = time.perf_counter()
        self._stream.send(
            struct.pack(">BLBB", 0, 2 + _ID_BYTES + len(rest), 0x0A, _ID_BYTES) + identity + rest
        )

    def _answered(self, message: bytes) -> None:
        started_s = self._started_s.pop(message[_ID])
        if self._running:
            if message[_ID.stop] == _RESPONSE:
                self.latencies_s.append(time.perf_counter() - started_s)
                self.response_bytes = len(message)
            else:
                self.failures += 1
            self._send()
        elif not self._started_s and not self._idle.done():
            self._idle.set_result(None)

    def _hung_up(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_exception(ConnectionError(reason))


def _rest(message: bytes) -> bytes:
    """Return a StreamPredictRequest without its id, which goes before it."""
    wrapped = StreamPredictRequest(timeout_us=_MESSAGE_TIMEOUT_US)
    wrapped.request.ParseFromString(message)
    return wrapped.SerializeToString()


async def _main(options: argparse.Namespace) -> dict[str, Any]:
    host, _, port = options.address.rpartition(":")
    loop = StreamLoop(read_messages(options.requests), options.path, options.concurrency)
    await loop.connect(host, int(port))
    gc.freeze()
    await loop.run(options.warmup)
    with account(options.watch) as used_s:
        elapsed_s = await loop.run(options.seconds)
    loop.close()
    return report(loop, elapsed_s, used_s)


def main() -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT")
    parser.add_argument("--path", required=True, help="/package.Service/Method")
    parser.add_argument("--requests", type=Path, required=True, help="PredictRequests")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--watch", type=int, action="append", default=[], help="PID to account CPU of")
    json.dump(uvloop.run(_main(parser.parse_args())), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
