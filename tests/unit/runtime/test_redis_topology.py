"""The map of a cluster, where a node that it is sent to says nothing."""

from __future__ import annotations

import asyncio
import socket

from forebay.deadline import Deadline

from runtime.clock import SystemClock
from runtime.redis_connection.redis_url import RedisUrl
from runtime.redis_connection.topology import Topology
from runtime.settings import RedisSettings


async def test_node_is_waited_for_until_the_deadline_only_when_it_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # Takes connections, and never looks at them.
        host, port = silent.getsockname()
        settings, clock = RedisSettings(connect_timeout_s=60), SystemClock()
        topology = Topology(RedisUrl.parse(f"redis+cluster://{host}:{port}"), settings, clock, lasting=True)
        async with asyncio.timeout(20):
            node = await topology.node_at(host, port, Deadline.after(0.01, clock.monotonic_s()))
        assert not node.connected
        await topology.aclose()
