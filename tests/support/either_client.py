"""The sync and the async client behind one face, so that one test holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import forebay

LONG_S = 20.0

Ask = Callable[..., Coroutine[Any, Any, Any]]
"""One call: the method's name, then its arguments."""

Opening = Callable[..., AbstractAsyncContextManager[Ask]]
"""Opens a client: its arguments, `timeout_s` long where not given."""


@asynccontextmanager
async def asynchronous(target: Any, **options: Any) -> AsyncIterator[Ask]:
    """An async client."""
    async with forebay.aio.Client(target, **{"timeout_s": LONG_S, **options}) as client:

        async def ask(method: str, /, *args: Any, **kwargs: Any) -> Any:
            found = getattr(client, method)(*args, **kwargs)
            return [each async for each in found] if method == "watch" else await found

        yield ask


@asynccontextmanager
async def synchronous(target: Any, **options: Any) -> AsyncIterator[Ask]:
    """A sync client, called in threads."""
    with forebay.Client(target, **{"timeout_s": LONG_S, **options}) as client:

        async def ask(method: str, /, *args: Any, **kwargs: Any) -> Any:
            def run() -> Any:
                found = getattr(client, method)(*args, **kwargs)
                return list(found) if method == "watch" else found

            return await asyncio.to_thread(run)

        yield ask


@asynccontextmanager
async def asynchronous_stream(target: Any, **options: Any) -> AsyncIterator[Ask]:
    """A stream of an async client; `ask` is its `predict`."""
    async with forebay.aio.Client(target, timeout_s=LONG_S) as client, client.stream(**options) as stream:
        yield stream.predict


@asynccontextmanager
async def synchronous_stream(target: Any, **options: Any) -> AsyncIterator[Ask]:
    """A stream of a sync client; `ask` is its `predict`, awaited."""
    with forebay.Client(target, timeout_s=LONG_S) as client:
        stream = client.stream(**options)

        async def ask(*args: Any, **kwargs: Any) -> Any:
            future = await asyncio.to_thread(stream.predict, *args, **kwargs)
            return await asyncio.wrap_future(future)

        try:
            yield ask
        except BaseException as error:
            await asyncio.to_thread(stream.__exit__, type(error), error, None)
            raise
        await asyncio.to_thread(stream.__exit__, None, None, None)
