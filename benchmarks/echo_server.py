"""The floor of any gRPC call in Python: a bare grpc.aio server on uvloop that answers every request with the
same number of bytes, and does nothing else. Prints `ready HOST:PORT`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[bytes, bytes]


class Echo(grpc.GenericRpcHandler):
    """Answers any method with a fixed number of bytes."""

    def __init__(self, response: bytes) -> None:
        async def answer(request: bytes, context: Any) -> bytes:
            return response

        self._handler: Handler = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        return self._handler


async def _serve(response_bytes: int, options: list[tuple[str, int]]) -> None:
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((Echo(bytes(response_bytes)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"ready 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--response-bytes", type=int, required=True)
    parser.add_argument("--option", action="append", default=[], help="NAME=INTEGER channel option")
    given = parser.parse_args()
    options = [(name, int(value)) for name, _, value in (text.partition("=") for text in given.option)]
    uvloop.run(_serve(given.response_bytes, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
