"""A TCP proxy that misbehaves on request, between a client under test and a real server."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class FaultProxy:
    """A context that listens on `port` of 127.0.0.1. Its faults are attributes, changed at any time:

    `delay_s` holds back each chunk of replies (order kept), `sliced` passes replies on byte by byte,
    `black_hole` swallows requests and replies, `refuse` drops new connections. `reset` and `half_close`
    act on open ones; `hurry` passes on what is held back.
    """

    def __init__(self, server: Path | str, tls: ssl.SSLContext | None = None) -> None:
        """Lead to a unix socket, or to HOST:PORT."""
        self._upstream = server
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry: asyncio.Future[None]
        self.accepted_count = 0
        self.port = 0
        self.delay_s = 0.0
        self.sliced = False
        self.black_hole = False
        self.refuse = False

    @property
    def url(self) -> str:
        """A Redis URL that leads through the proxy."""
        return f"{'rediss' if self._tls else 'redis'}://localhost:{self.port}"

    async def __aenter__(self) -> FaultProxy:
        self._hurry = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Drop every open connection by a reset."""
        for client in self._clients:
            client.transport.abort()

    def half_close(self) -> None:
        """Send the end of the stream to every client, and go on reading."""
        for client in self._clients:
            client.write_eof()

    def hurry(self) -> None:
        """Pass on what is held back, and hold back no more."""
        self.delay_s = 0.0
        self._hurry.set_result(None)
        self._hurry = asyncio.get_running_loop().create_future()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        if self.refuse:
            await _drop(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._carry(reader, writer)
            await _drop(writer)
        finally:
            self._tasks.discard(task)
            self._clients.discard(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._dial()
        requests = asyncio.create_task(self._pump_requests(reader, server_writer))
        replies = asyncio.create_task(self._pump_replies(server_reader, writer))
        try:
            await asyncio.wait([requests, replies], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (requests, replies):
                task.cancel()
            server_writer.transport.abort()
            await asyncio.gather(requests, replies, return_exceptions=True)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(self._upstream)
        host, _, port = self._upstream.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pump_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            if not self.black_hole:
                writer.write(chunk)
                await writer.drain()

    async def _pump_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            if self.delay_s:
                await asyncio.wait([self._hurry], timeout=self.delay_s)
            if self.black_hole:
                continue
            if self.sliced:
                await _write_sliced(writer, chunk)
            else:
                writer.write(chunk)
            await writer.drain()


async def _drop(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def _write_sliced(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    for place in range(len(chunk)):
        writer.write(chunk[place : place + 1])
        await asyncio.sleep(0)
