"""What a gateway says of itself on its admin port: how its calls have ended."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from forebay.v1 import admin_pb2

_DESCRIBE = "/forebay.v1.AdminService/DescribeServer"
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How calls of one method have ended by the server's account, as counts."""

    by_status: dict[str, int]
    late: int

    @property
    def answered(self) -> int:
        """Calls that got an answer."""
        return self.by_status.get("OK", 0)

    def since(self, before: Ended) -> Ended:
        """Return what came on top of `before`."""
        by_status = {name: count - before.by_status.get(name, 0) for name, count in self.by_status.items()}
        return Ended(by_status, self.late - before.late)


def ended(admin: str, method: str) -> Ended:
    """Return how the calls of a method have ended since the gateway began. Raises: grpc.RpcError."""
    with grpc.insecure_channel(admin) as channel:
        request = admin_pb2.DescribeServerRequest.SerializeToString
        response = admin_pb2.DescribeServerResponse.FromString
        describe = channel.unary_unary(_DESCRIBE, request, response)
        described = describe(admin_pb2.DescribeServerRequest(), timeout=_TIMEOUT_S)
    for calls in described.calls:
        if calls.method == method:
            return Ended(dict(calls.by_status), calls.late)
    return Ended({}, 0)
