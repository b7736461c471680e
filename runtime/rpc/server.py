"""One port: services, health and reflection on a grpc.aio server, from binding to a graceful drain. What
happens around a method is in `service.py`."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

import grpc
from forebay.errors import Unavailable
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.clock import Clock
from runtime.recent import RecentRequests
from runtime.rpc.service import Refusal, Wrapping
from runtime.rpc.stopping import Stopping
from runtime.rpc.traffic import close_listener, hang_up
from runtime.settings import ServerSettings, split_address

logger = logging.getLogger(__name__)

_LAST_WORDS_S = 0.02
"""For refusals, and for those who watch the health, to be written before the connections end."""
_HANG_UP_S = 1.0
"""Seconds that callers have to close their ends; all calls have ended by then."""

PROCESS = ""
"""The health name of the whole process."""


class RpcServer:
    """The services of one address. Made inside the event loop that will run it, one loop per process.

    All health names are NOT_SERVING until `set_serving`. Services are added before `start`. `shares_port`
    lets several processes bind the same port; without it a port in use is an error. `charge` is called with
    the caller of each call to a service, before its request is looked at; it may raise an `Error`.
    """

    def __init__(
        self,
        address: str,
        settings: ServerSettings,
        clock: Clock,
        recent: RecentRequests,
        *,
        shares_port: bool = False,
        charge: Callable[[str], None] | None = None,
    ) -> None:
        self._address = address
        self._port = 0
        self._settings = settings
        self._wrapping = Wrapping(clock, recent, settings.max_timeout_s, settings.max_stream_s, charge)
        self._health = health.aio.HealthServicer()
        self._services: list[str] = []
        self._server = grpc.aio.server(options=channel_options(settings, shares_port))

    def add(self, service: ServiceDescriptor, servicer: object) -> None:
        """Serve a service by the servicer's methods: `async def Name(self, request, call)` returns a response
        (a message or its bytes); one that streams is an async generator of them, and gets the requests, where
        those stream too, as an async iterator.

        Raises: TypeError where the servicer has a method that the service doesn't know, or of another kind.
        """
        handlers = self._wrapping.handlers(service, servicer)
        generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self._services.append(service.full_name)

    @property
    def stopping(self) -> Stopping:
        """Whom to tell when the port is about to close."""
        return self._wrapping.stopping

    async def start(self) -> str:
        """Bind and begin to answer; return HOST:PORT as bound. Raises: Unavailable where that fails."""
        await self.set_not_serving()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._server.add_generic_rpc_handlers((Refusal(self._wrapping),))
        self._port = self._bind()
        await self._server.start()
        return f"{self._address.rpartition(':')[0]}:{self._port}"

    async def set_serving(self, *services: str) -> None:
        """Report these services healthy; all of them, and the process, when none is named."""
        await self._report(services, health_pb2.HealthCheckResponse.SERVING)

    async def set_not_serving(self, *services: str) -> None:
        """Report these services not usable; all of them, and the process, when none is named."""
        await self._report(services, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def drain(self) -> None:
        """End without dropping a call that was begun. Report NOT_SERVING, wait until that is noticed; refuse
        what comes from then on, before any work; when the calls under way are answered, hang up. Those that
        outlast the grace are cancelled.

        Every caller is either answered or told UNAVAILABLE, and then nothing was begun for it: it may send
        the call again, elsewhere.

        Units: waits `drain_wait_s`, then at most `drain_grace_s`.
        """
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.drain_wait_s)
        traffic = self._wrapping.traffic
        close_listener(self._port)
        under_way = traffic.under_way
        self._wrapping.stopping.begin()
        idle = await traffic.idle(self._settings.drain_grace_s)
        cut = traffic.under_way
        await asyncio.sleep(_LAST_WORDS_S)
        closed = hang_up(self._port) if idle else 0
        await self.aclose(_HANG_UP_S if idle else 0)
        logger.info(
            "drained %s: %d calls were under way, %d of them cut; %d refused; %d connections closed",
            *(self._address, under_way, cut, traffic.refused, closed),
        )

    async def aclose(self, grace_s: float = 0.0) -> None:
        """Close the port now; calls under way have `grace_s` to end."""
        await self._server.stop(grace_s)

    async def _report(self, services: tuple[str, ...], status: int) -> None:
        for name in services or (PROCESS, *self._services):
            await self._health.set(name, status)

    def _bind(self) -> int:
        try:
            return self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            reason = _why_not(self._address)
            raise Unavailable(f"can't bind {self._address}: {reason}", address=self._address) from error


def channel_options(settings: ServerSettings, shares_port: bool) -> list[tuple[str, int]]:
    """Return gRPC's options. It adds its own jitter of a tenth to the connection age.

    Its protection against overload is off, for it refuses calls (UNAVAILABLE) of clients that keep to the
    limit on streams: it counts those that have ended as well, until Python has let go of them. With it, of
    400 calls at once on a connection with a limit of 100, over 200 failed; without, the excess waits in the
    client.

    Python takes in one call at a time, the oldest first. Where more come than it can take in, the queue in
    front of it grows until every call has used up its deadline there, and all that is done is in vain. So
    that queue is bounded: between the bound and five quarters of it gRPC ends more and more, by chance, in
    its own threads (decision 19).
    """
    return [
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", settings.max_receive_bytes),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        ("grpc.http.overload_protection", 0),
        ("grpc.server.max_pending_requests", settings.max_pending_calls),
        ("grpc.server.max_pending_requests_hard_limit", settings.max_pending_calls * 5 // 4),
        ("grpc.max_connection_age_ms", _ms(settings.max_connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _ms(settings.max_connection_age_grace_s)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.keepalive_min_interval_s)),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _why_not(address: str) -> str:
    """Return what the operating system says to binding; gRPC keeps that to itself."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "gRPC refused it without a reason"
