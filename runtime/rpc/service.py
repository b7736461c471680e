"""A servicer and its service's descriptor become gRPC handlers. The layers around every method, and their
order, are one expression here; the layers themselves are in `layers.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from runtime.clock import Clock
from runtime.recent import RecentRequests
from runtime.rpc.layers import Handler, Step, charged, codec, deadline, errors, telemetry, unimplemented
from runtime.rpc.streams import answers_stream, both_stream
from runtime.rpc.traffic import Traffic

if TYPE_CHECKING:
    RpcMethodHandler = grpc.RpcMethodHandler[Any, bytes]


class Wrapping:
    """What the layers around a method need; one per server. Units: seconds."""

    def __init__(
        self,
        clock: Clock,
        recent: RecentRequests,
        max_timeout_s: float,
        max_stream_s: float,
        charge: Callable[[str], None] | None = None,
    ) -> None:
        self.traffic = Traffic()
        self.stopping = self.traffic.stopping
        self._clock = clock
        self._recent = recent
        self._max_timeout_s = max_timeout_s
        self._max_stream_s = max_stream_s
        self._charge = charge

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
        limited = self._limited(method, run)
        if self._charge is not None:
            limited = charged(limited, self._charge)
        wrapped = self._outer(limited, _name(method))
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(wrapped)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(wrapped)
        return grpc.unary_unary_rpc_method_handler(wrapped)

    def _limited(self, method: MethodDescriptor, run: Any) -> Step:
        """Return the inner layers. A stream ends by itself when it is old; the deadline is for one that hangs
        then."""
        request_class = GetMessageClass(method.input_type)
        if not method.server_streaming:
            return deadline(codec(run, request_class), self._max_timeout_s, self._clock)
        stream = both_stream if method.client_streaming else answers_stream
        step = stream(run, request_class, self.stopping, self._max_stream_s)
        return deadline(step, self._max_stream_s + self._max_timeout_s)

    def _refusal(self, name: str) -> Handler:
        return self._outer(unimplemented(name), name)

    def _outer(self, step: Step, name: str) -> Handler:
        answered = errors(step, self.stopping)
        return telemetry(answered, name, self._clock, self._recent, self.traffic)


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
    for name, member in inspect.getmembers(servicer, _is_method):
        if name not in known:
            if name[0].isupper():
                raise TypeError(f"{service.full_name} has no method {name}")
        elif known[name].client_streaming and not known[name].server_streaming:
            raise TypeError(f"{service.full_name}/{name} streams requests only; that isn't served")
        elif known[name].server_streaming != inspect.isasyncgenfunction(member):
            kind = "an async generator" if known[name].server_streaming else "a coroutine"
            raise TypeError(f"{service.full_name}/{name} must be {kind}")


def _is_method(member: object) -> bool:
    return inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
