"""What a client gets that knows nothing of us: reflection, health, garbage, methods that aren't served."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from forebay._rpc import error_details_pb2, status_pb2
from forebay.v1 import admin_pb2, prediction_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.served_application import ServedApplication

SERVICES = ["PredictionService", "FeatureService", "SimilarityService"]


@pytest.fixture
def channel(tiny: ServedApplication) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tiny.gateway) as channel:
        yield channel


@pytest.fixture
def admin(tiny: ServedApplication) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tiny.admin) as channel:
        yield channel


def call(channel: grpc.Channel, path: str, request: bytes) -> bytes:
    method = channel.unary_unary(path, None, None)
    response: bytes = method(request, timeout=5)
    return response


def failure(channel: grpc.Channel, path: str, request: bytes) -> tuple[grpc.StatusCode, str, str]:
    """Return the status, its ErrorInfo's reason, and its message."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, path, request)
    error: Any = caught.value
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status = status_pb2.Status.FromString(details)
    assert status.details[0].Unpack(info)
    assert info.domain == "forebay"
    return error.code(), info.reason, error.details()


def test_a_generic_client_predicts_by_reflection_alone(channel: grpc.Channel) -> None:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("forebay.v1.PredictionService").FindMethodByName("Predict")
    request = GetMessageClass(method.input_type)(pipeline="items_for_user")
    request.inputs["user_id"].int64_value = 2
    answer = GetMessageClass(method.output_type).FromString(
        call(channel, "/forebay.v1.PredictionService/Predict", request.SerializeToString())
    )
    assert answer.entities[0].name == "item_id"
    assert list(answer.entities[0].values.shape) == [5]


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {f"forebay.v1.{name}" for name in SERVICES} < set(services)
    assert "forebay.v1.AdminService" not in services


@pytest.mark.parametrize("name", ["", *(f"forebay.v1.{service}" for service in SERVICES)])
def test_health_says_serving_by_name(channel: grpc.Channel, name: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    response = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_garbage_is_the_callers_error(channel: grpc.Channel) -> None:
    code, reason, message = failure(channel, "/forebay.v1.PredictionService/Predict", b"\xff\xff\xff")
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "forebay.v1.PredictRequest" in message


@pytest.mark.parametrize(
    "path",
    [
        "/forebay.v1.PredictionService/NoSuchMethod",
        "/forebay.v1.AdminService/ListRecentRequests",
        "/nobody.Service/Method",
    ],
)
def test_a_method_that_is_not_served_says_so(channel: grpc.Channel, path: str) -> None:
    code, reason, message = failure(channel, path, b"")
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    assert path.removeprefix("/") in message


def test_a_streaming_method_that_is_not_served_says_so(channel: grpc.Channel) -> None:
    stream = channel.stream_stream("/forebay.v1.PredictionService/Converse", None, None)
    with pytest.raises(grpc.RpcError) as caught:
        list(stream(iter([b""]), timeout=5))
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_request_past_the_size_limit_is_refused_and_the_next_is_answered(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "/forebay.v1.PredictionService/Predict", bytes(2_000_000))
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    test_a_generic_client_predicts_by_reflection_alone(channel)


def test_the_admin_port_tells_recent_requests_and_failures(
    channel: grpc.Channel, admin: grpc.Channel
) -> None:
    request = prediction_pb2.PredictRequest(pipeline="items_for_user")
    failure(channel, "/forebay.v1.PredictionService/Predict", request.SerializeToString())
    request.inputs["user_id"].int64_value = 2
    answer = prediction_pb2.PredictResponse.FromString(
        call(channel, "/forebay.v1.PredictionService/Predict", request.SerializeToString())
    )
    listed = admin_pb2.ListRecentRequestsResponse.FromString(
        call(admin, "/forebay.v1.AdminService/ListRecentRequests", b"")
    )
    last, before = listed.requests[0], listed.requests[1]
    assert last.provenance == answer.provenance
    assert (last.method, last.status) == ("forebay.v1.PredictionService/Predict", "OK")
    assert last.pipeline == "items_for_user"
    assert last.duration_us >= sum(stage.duration_us for stage in last.provenance.stages) * 0.9
    assert before.status == "INVALID_ARGUMENT"
    by_id = admin_pb2.ListRecentRequestsRequest(id=answer.provenance.prediction_id)
    found = admin_pb2.ListRecentRequestsResponse.FromString(
        call(admin, "/forebay.v1.AdminService/ListRecentRequests", by_id.SerializeToString())
    )
    assert [one.provenance.prediction_id for one in found.requests] == [answer.provenance.prediction_id]


def test_the_trace_continues_the_callers(channel: grpc.Channel) -> None:
    request = prediction_pb2.PredictRequest(pipeline="items_for_user")
    request.inputs["user_id"].int64_value = 2
    trace = "0af7651916cd43dd8448eb211c80319c"
    method = channel.unary_unary("/forebay.v1.PredictionService/Predict", None, None)
    metadata = [("traceparent", f"00-{trace}-b7ad6b7169203331-01")]
    answer = method(request.SerializeToString(), timeout=5, metadata=metadata)
    assert prediction_pb2.PredictResponse.FromString(answer).provenance.trace_id == trace


def test_the_admin_port_describes_the_server(admin: grpc.Channel) -> None:
    described = admin_pb2.DescribeServerResponse.FromString(
        call(admin, "/forebay.v1.AdminService/DescribeServer", b"")
    )
    assert described.app == "tiny"
    assert described.release > 0
    assert all(pipeline.usable for pipeline in described.pipelines)
    assert described.pending_release_error == ""


def test_the_admin_port_counts_how_calls_end(channel: grpc.Channel, admin: grpc.Channel) -> None:
    request = prediction_pb2.PredictRequest(pipeline="items_for_user")
    request.inputs["user_id"].int64_value = 2
    before = predictions(admin)
    call(channel, "/forebay.v1.PredictionService/Predict", request.SerializeToString())
    request.pipeline = "nothing"
    with pytest.raises(grpc.RpcError):
        call(channel, "/forebay.v1.PredictionService/Predict", request.SerializeToString())
    after = predictions(admin)
    assert after.by_status["OK"] == before.by_status["OK"] + 1
    assert sum(after.by_status.values()) == sum(before.by_status.values()) + 2
    assert after.late == 0


def predictions(admin: grpc.Channel) -> admin_pb2.MethodCalls:
    described = admin_pb2.DescribeServerResponse.FromString(
        call(admin, "/forebay.v1.AdminService/DescribeServer", b"")
    )
    counts = {calls.method: calls for calls in described.calls}
    return counts.get("forebay.v1.PredictionService/Predict", admin_pb2.MethodCalls())
