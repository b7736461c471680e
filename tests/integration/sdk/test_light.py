"""The client where only grpcio and protobuf are installed: an interpreter that imports nothing else."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from forebay import _pack
from forebay.errors import NotUsable
from forebay.v1 import features_pb2, prediction_pb2, values_pb2

from runtime.rpc.call import Call
from tests.support.echo_services import (
    FEATURES,
    PREDICTION,
    ScriptedFeatures,
    ScriptedPrediction,
    serving,
)

SDK = Path(__file__).resolve().parents[3] / "sdk"

CODE = """
import importlib.abc, json, sys

ALLOWED = {"forebay", "grpc", "google", "typing_extensions"} | set(sys.stdlib_module_names)

class OnlyGrpcAndProtobuf(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] not in ALLOWED or name.startswith("google.rpc"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyGrpcAndProtobuf())

import forebay

with forebay.Client(sys.argv[1], timeout_s=20) as client:
    answer = client.predict("p", user_id=42, tags=["a"], vector=[0.5, 1])
    table = client.features(["v.x", "v.names", "v.seen", "v.pair"], movie_id=[1, 2], event_times=True)
    outcomes = client.write("user_taste", user_id=[42], mean_rating=[4.1], seen=[[1, 2]], event_time=[5])
    try:
        client.predict("missing")
        kind = ""
    except forebay.Error as error:
        kind = type(error).__name__

heavy = {"numpy", "pydantic", "redis", "faiss", "onnxruntime", "pyarrow"} & set(sys.modules)
print(json.dumps({
    "items": [[item.entity["movie_id"], item.scores["score"]] for item in answer],
    "values": {name: table.values(name) for name in table.names},
    "statuses": table.statuses("v.x"),
    "times": [str(time) for time in table.event_times("v.x")],
    "outcomes": outcomes,
    "kind": kind,
    "heavy": sorted(heavy),
}))
"""


async def predict(request: prediction_pb2.PredictRequest, call: Call) -> prediction_pb2.PredictResponse:
    if request.pipeline == "missing":
        raise NotUsable("no model")
    return prediction_pb2.PredictResponse(
        entities=[_pack.column("movie_id", [3, 1], None, "e")],
        scores=[_pack.column("score", [0.5, 0.25], None, "s")],
    )


def columns() -> list[values_pb2.Column]:
    pair = [[1.0, 2.0], [3.0, 4.0]]
    x = _pack.column("v.x", [1.5, None], None, "x")
    x.event_times_us.CopyFrom(_pack.tensor([1_700_000_000_000_000, 0], None, "t"))
    return [
        x,
        _pack.column("v.names", ["é", None], None, "names"),
        _pack.column("v.seen", [[1, 2], [3]], None, "seen"),
        _pack.column("v.pair", pair, None, "pair"),
    ]


async def test_client_works_when_numpy_and_googleapis_are_not_installed() -> None:
    view = features_pb2.View(
        name="user_taste",
        features=[
            features_pb2.ViewFeature(name="mean_rating", dtype="float32"),
            features_pb2.ViewFeature(name="seen", dtype="int64[]"),
        ],
    )
    features = ScriptedFeatures(view=view, columns=columns())
    features.outcomes = bytes([1])
    async with serving((PREDICTION, ScriptedPrediction(predict)), (FEATURES, features)) as address:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CODE, address),
            env={"PYTHONPATH": str(SDK)},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert json.loads(output) == {
        "items": [[3, 0.5], [1, 0.25]],
        "values": {
            "v.x": [1.5, None],
            "v.names": ["é", None],
            "v.seen": [[1, 2], [3]],
            "v.pair": [[1.0, 2.0], [3.0, 4.0]],
        },
        "statuses": [1, 2],
        "times": ["2023-11-14 22:13:20+00:00", "None"],
        "outcomes": [1],
        "kind": "NotUsable",
        "heavy": [],
    }
