"""Tests here run on asyncio's loop and on uvloop, which end sockets each in its own way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loops by the names that test ids carry."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
