"""A servicer and its service's descriptor become gRPC handlers. The layers around every method, and their
order, are one expression here; the layers themselves are in `layers.py`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from runtime.clock import Clock
from runtime.recent import RecentRequests
from runtime.rpc.layers import Handler, codec, deadline, errors, telemetry, unimplemented

if TYPE_CHECKING:
    RpcMethodHandler = grpc.RpcMethodHandler[Any, bytes]


class Wrapping:
    """What the layers around a method need; one per server."""

    def __init__(self, clock: Clock, recent: RecentRequests, max_timeout_s: float) -> None:
        self._clock = clock
        self._recent = recent
        self._max_timeout_s = max_timeout_s

    def handlers(self, service: ServiceDescriptor, servicer: object) -> dict[str, RpcMethodHandler]:
        """Return the methods' handlers by name; one that the servicer lacks is UNIMPLEMENTED.

        Raises: TypeError where the servicer has a method that the service doesn't know.
        """
        _refuse_unknown_methods(service, servicer)
        return {method.name: self._handler(method, servicer) for method in service.methods}

    def missing(self, path: str) -> RpcMethodHandler:
        """Return the handler of a method that no service here has."""
        return _refusing(self._refusal(path.removeprefix("/")))

    def _handler(self, method: MethodDescriptor, servicer: object) -> RpcMethodHandler:
        run = getattr(servicer, method.name, None)
        if run is None:
            return _refusing(self._refusal(_name(method)))
        request_class = GetMessageClass(method.input_type)
        wrapped = telemetry(
            errors(deadline(codec(run, request_class), self._max_timeout_s)),
            _name(method),
            self._clock,
            self._recent,
        )
        return grpc.unary_unary_rpc_method_handler(wrapped)

    def _refusal(self, name: str) -> Handler:
        return telemetry(errors(unimplemented(name)), name, self._clock, self._recent)


class Refusal(grpc.GenericRpcHandler):
    """Takes every method that nothing else on a server knows, so that it too is refused with our details."""

    def __init__(self, wrapping: Wrapping) -> None:
        self._wrapping = wrapping

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> RpcMethodHandler:
        return self._wrapping.missing(handler_call_details.method)


def _name(method: MethodDescriptor) -> str:
    return f"{method.containing_service.full_name}/{method.name}"


def _refusing(handler: Handler) -> RpcMethodHandler:
    # Answers without reading a request, so it serves every kind of method, unary or streaming.
    return grpc.stream_stream_rpc_method_handler(handler)


def _refuse_unknown_methods(service: ServiceDescriptor, servicer: object) -> None:
    known = {method.name: method for method in service.methods}
    for name, _ in inspect.getmembers(servicer, inspect.iscoroutinefunction):
        if name[0].isupper() and name not in known:
            raise TypeError(f"{service.full_name} has no method {name}")
        if name in known and (known[name].client_streaming or known[name].server_streaming):
            raise TypeError(f"{service.full_name}/{name} streams; only methods of one request are served")
