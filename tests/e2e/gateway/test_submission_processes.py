"""Gateways and workers as processes that are killed and stopped while predictions are under way."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
from forebay.v1 import prediction_pb2 as pb
from forebay.v1 import prediction_pb2_grpc

from tests.support.served_application import ServedApplication, served
from tests.support.worker_process import working

QUICK = {"submissions__claim_after_s": "1", "submissions__timeout_s": "0.5", "submissions__mini_batch": "16"}
COUNT = 200


def submitted(stub: prediction_pb2_grpc.PredictionServiceStub, number: int) -> str:
    request = pb.PredictRequest(pipeline="items_for_user")
    request.inputs["user_id"].int64_value = number % 20 + 1
    return str(stub.SubmitPrediction(pb.SubmitPredictionRequest(request=request), timeout=10).prediction_id)


def test_every_prediction_ends_once_when_a_worker_process_is_killed(tiny: ServedApplication) -> None:
    app = (tiny.directory, tiny.redis_url, tiny.app)
    told: Counter[str] = Counter()
    done: set[str] = set()
    some = threading.Event()

    def watch(stub: prediction_pb2_grpc.PredictionServiceStub, ids: list[str]) -> None:
        for one in stub.WatchPrediction(pb.WatchPredictionRequest(prediction_ids=ids), timeout=60):
            told[one.prediction_id] += 1
            if one.result.state == pb.PREDICTION_STATE_DONE:
                assert one.result.response.provenance.prediction_id == one.prediction_id
                done.add(one.prediction_id)
            if len(told) > COUNT // 8:
                some.set()

    with grpc.insecure_channel(tiny.gateway) as channel, working(*app, **QUICK):
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        with working(*app, exit_code=-signal.SIGKILL, **QUICK) as doomed, ThreadPoolExecutor() as threads:
            ids = [submitted(stub, number) for number in range(COUNT)]
            watching = threads.submit(watch, stub, ids)
            assert some.wait(60)
            os.kill(doomed.pid, signal.SIGKILL)
            watching.result(60)
    assert set(told) == done == set(ids)
    assert set(told.values()) == {1}


def test_a_wait_ends_with_pending_when_its_gateway_is_stopped(tiny: ServedApplication) -> None:
    with (
        served(tiny.directory, tiny.redis_url, tiny.app) as gateway,
        grpc.insecure_channel(gateway.gateway) as channel,
        ThreadPoolExecutor() as threads,
    ):
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        prediction_id = submitted(stub, 1)
        message = pb.GetPredictionRequest(prediction_id=prediction_id, wait_us=30_000_000)
        waiting = stub.GetPrediction.future(message, timeout=30)
        watched = threads.submit(watch_status, stub, prediction_id)
        assert stub.GetPrediction(pb.GetPredictionRequest(prediction_id=prediction_id), timeout=10).state
        gateway.process.send_signal(signal.SIGTERM)
        assert waiting.result(30).state == pb.PREDICTION_STATE_PENDING
        assert watched.result(30) == grpc.StatusCode.UNAVAILABLE
        assert gateway.process.wait(30) == 0
    with working(tiny.directory, tiny.redis_url, tiny.app), grpc.insecure_channel(tiny.gateway) as channel:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        assert stub.GetPrediction(message, timeout=30).state == pb.PREDICTION_STATE_DONE


def watch_status(
    stub: prediction_pb2_grpc.PredictionServiceStub, prediction_id: str
) -> grpc.StatusCode | None:
    try:
        list(stub.WatchPrediction(pb.WatchPredictionRequest(prediction_ids=[prediction_id]), timeout=30))
    except grpc.RpcError as error:
        return error.code()
    return None
