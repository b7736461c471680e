"""Predictions submitted to a real gateway, made by real workers, and fetched by raw stubs."""

from __future__ import annotations

from collections.abc import Iterator

import forebay
import grpc
import numpy as np
import pytest
from forebay._rpc.error_details_pb2 import BadRequest, ErrorInfo
from forebay.v1 import prediction_pb2 as pb
from forebay.v1 import prediction_pb2_grpc

from tests.support.served_application import ServedApplication
from tests.support.worker_process import working

WAIT_US = 20_000_000


@pytest.fixture(scope="module")
def stub(tiny: ServedApplication) -> Iterator[prediction_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(tiny.gateway) as channel:
        yield prediction_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def worker(tiny: ServedApplication) -> Iterator[None]:
    """A worker, from the first test on that needs one."""
    with working(tiny.directory, tiny.redis_url, tiny.app):
        yield


def asked(user_id: int, pipeline: str = "items_for_user") -> pb.PredictRequest:
    request = pb.PredictRequest(pipeline=pipeline)
    request.inputs["user_id"].int64_value = user_id
    return request


def submit(stub: prediction_pb2_grpc.PredictionServiceStub, request: pb.PredictRequest, key: str = "") -> str:
    message = pb.SubmitPredictionRequest(request=request, idempotency_key=key)
    return str(stub.SubmitPrediction(message, timeout=5).prediction_id)


def get(
    stub: prediction_pb2_grpc.PredictionServiceStub,
    prediction_id: str,
    wait_us: int = 0,
    timeout_s: float = 30,
) -> pb.GetPredictionResponse:
    message = pb.GetPredictionRequest(prediction_id=prediction_id, wait_us=wait_us)
    response: pb.GetPredictionResponse = stub.GetPrediction(message, timeout=timeout_s)
    return response


def scores(response: pb.PredictResponse) -> list[float]:
    return np.frombuffer(response.scores[0].values.data, np.float32).tolist()


def test_a_wait_without_a_worker_says_pending_before_the_caller_leaves(
    stub: prediction_pb2_grpc.PredictionServiceStub, request: pytest.FixtureRequest
) -> None:
    prediction_id = submit(stub, asked(1))
    result = get(stub, prediction_id, WAIT_US, timeout_s=2.0)
    assert result == pb.GetPredictionResponse(state=pb.PREDICTION_STATE_PENDING)
    request.getfixturevalue("worker")
    assert get(stub, prediction_id, WAIT_US).state == pb.PREDICTION_STATE_DONE


@pytest.mark.usefixtures("worker")
def test_what_is_submitted_is_answered_as_a_call_would_be(
    stub: prediction_pb2_grpc.PredictionServiceStub,
) -> None:
    ids = [submit(stub, asked(user)) for user in range(1, 6)]
    for user, prediction_id in enumerate(ids, 1):
        result = get(stub, prediction_id, WAIT_US)
        at_once = stub.Predict(asked(user), timeout=5)
        assert result.state == pb.PREDICTION_STATE_DONE
        assert result.response.entities == at_once.entities
        assert scores(result.response) == pytest.approx(scores(at_once))
        assert result.response.provenance.prediction_id == prediction_id
        assert result.response.provenance.release == at_once.provenance.release
        assert not result.HasField("error")


@pytest.mark.usefixtures("worker")
def test_a_watch_gives_every_result_and_ends(stub: prediction_pb2_grpc.PredictionServiceStub) -> None:
    ids = [submit(stub, asked(user)) for user in range(1, 20)]
    request = pb.WatchPredictionRequest(prediction_ids=[*ids, "unknown"])
    results = {one.prediction_id: one.result for one in stub.WatchPrediction(request, timeout=30)}
    unknown = results.pop("unknown")
    assert unknown.error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert unknown.state == pb.PREDICTION_STATE_FAILED
    assert set(results) == set(ids)
    assert {result.state for result in results.values()} == {pb.PREDICTION_STATE_DONE}


def test_what_can_not_be_made_is_refused_when_it_is_submitted(
    stub: prediction_pb2_grpc.PredictionServiceStub,
) -> None:
    wrong_type, unknown_field, wrong_top = asked(1), asked(1), asked(1)
    wrong_type.inputs["user_id"].double_value = 1.5
    unknown_field.inputs["nobody"].int64_value = 1
    wrong_top.top = 0
    for request, code, field in (
        (asked(1, "nothing"), grpc.StatusCode.NOT_FOUND, "pipeline"),
        (wrong_type, grpc.StatusCode.INVALID_ARGUMENT, "inputs.user_id"),
        (unknown_field, grpc.StatusCode.INVALID_ARGUMENT, "inputs.nobody"),
        (wrong_top, grpc.StatusCode.INVALID_ARGUMENT, "top"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            submit(stub, request)
        assert refused.value.code() == code
        assert field in refused.value.details()
    with pytest.raises(grpc.RpcError, match="what to predict is missing"):
        stub.SubmitPrediction(pb.SubmitPredictionRequest(), timeout=5)


@pytest.mark.usefixtures("worker")
def test_a_key_stands_for_one_request_whatever_the_order_of_its_inputs(
    stub: prediction_pb2_grpc.PredictionServiceStub,
) -> None:
    one, same = pb.PredictRequest(pipeline="items_for_user"), pb.PredictRequest(pipeline="items_for_user")
    for request, names in ((one, ("user_id", "hour")), (same, ("hour", "user_id"))):
        for name in names:
            request.inputs[name].int64_value = 3
    assert submit(stub, one, "order-7") == submit(stub, same, "order-7")
    with pytest.raises(grpc.RpcError, match="another request") as refused:
        submit(stub, asked(4), "order-7")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert get(stub, submit(stub, one, "order-7"), WAIT_US).state == pb.PREDICTION_STATE_DONE


def test_wrong_calls_are_refused_by_field(stub: prediction_pb2_grpc.PredictionServiceStub) -> None:
    for call, code, field in (
        (lambda: get(stub, ""), grpc.StatusCode.INVALID_ARGUMENT, "prediction_id"),
        (lambda: get(stub, "1", -1), grpc.StatusCode.INVALID_ARGUMENT, "wait_us"),
        (lambda: get(stub, "f" * 32), grpc.StatusCode.NOT_FOUND, "prediction"),
        (lambda: watch(stub, 0), grpc.StatusCode.INVALID_ARGUMENT, "prediction_ids"),
        (lambda: watch(stub, 1001), grpc.StatusCode.INVALID_ARGUMENT, "prediction_ids"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() == code
        assert field in refused.value.details()


def watch(stub: prediction_pb2_grpc.PredictionServiceStub, count: int) -> list[pb.WatchPredictionResponse]:
    request = pb.WatchPredictionRequest(prediction_ids=[f"{number:032x}" for number in range(count)])
    return list(stub.WatchPrediction(request, timeout=5))


@pytest.mark.usefixtures("worker")
def test_a_prediction_that_fails_carries_the_error_of_a_call(
    stub: prediction_pb2_grpc.PredictionServiceStub,
) -> None:
    request = asked(10_001, "strict_risk")
    request.inputs["amount"].double_value = 1.0
    result = get(stub, submit(stub, request), WAIT_US)
    with pytest.raises(grpc.RpcError) as at_once:
        stub.Predict(request, timeout=5)
    info = ErrorInfo()
    assert result.state == pb.PREDICTION_STATE_FAILED
    assert not result.HasField("response")
    assert result.error.code == at_once.value.code().value[0]
    assert result.error.message == at_once.value.details()
    assert result.error.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("forebay", "NOT_USABLE")
    assert not any(detail.Is(BadRequest.DESCRIPTOR) for detail in result.error.details)


@pytest.mark.usefixtures("worker")
def test_the_sdk_submits_waits_and_watches(client: forebay.Client) -> None:
    prediction_id = client.submit("items_for_user", user_id=3, top=2, idempotency_key="sdk-3")
    assert client.submit("items_for_user", user_id=3, top=2, idempotency_key="sdk-3") == prediction_id
    answer = client.result(prediction_id, wait_s=20)
    at_once = client.predict("items_for_user", user_id=3, top=2)
    assert [item.entity["item_id"] for item in answer] == [item.entity["item_id"] for item in at_once]
    assert answer.provenance.prediction_id == prediction_id
    failing = client.submit("strict_risk", user_id=10_001, amount=1.0)
    ended = dict(client.watch([prediction_id, failing, "unknown"], wait_s=20))
    assert isinstance(ended[prediction_id], forebay.Answer)
    assert isinstance(ended[failing], forebay.NotUsable)
    assert isinstance(ended["unknown"], forebay.NotFound)
    with pytest.raises(forebay.NotUsable):
        client.result(failing)
