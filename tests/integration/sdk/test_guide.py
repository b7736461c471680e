"""The snippets of docs/sdk.md, one after another, against a server that answers whatever they ask."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import forebay
from forebay import _pack
from forebay._dtypes import DType
from forebay.v1 import prediction_pb2 as pb

from runtime.rpc.call import Call
from tests.support.echo_services import FEATURES, PREDICTION, ScriptedFeatures, serving
from tests.support.source_files import ROOT

SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


class Agreeable:
    """Recommends movie 3 to everybody, now or later."""

    async def Predict(self, request: pb.PredictRequest, call: Call) -> pb.PredictResponse:  # noqa: N802
        if request.HasField("top") and request.top < 1:
            raise forebay.InvalidRequest("top: must be 1 to 10000", field="top")
        return pb.PredictResponse(
            entities=[_pack.column("movie_id", [3], None, "e")],
            scores=[_pack.column("score", [0.5], None, "s")],
            degradations=[pb.Degradation(stage="predict", reason="NO_TIME", action="STALE_ANSWER", count=1)],
            provenance=pb.Provenance(trace_id=call.trace_id),
        )

    async def StreamPredict(  # noqa: N802
        self, requests: AsyncIterator[pb.StreamPredictRequest], call: Call
    ) -> AsyncIterator[pb.StreamPredictResponse]:
        async for request in requests:
            response = await self.Predict(request.request, call)
            yield pb.StreamPredictResponse(request_id=request.request_id, response=response)

    async def SubmitPrediction(  # noqa: N802
        self, request: pb.SubmitPredictionRequest, call: Call
    ) -> pb.SubmitPredictionResponse:
        user = request.request.inputs["user_id"].int64_value
        return pb.SubmitPredictionResponse(prediction_id=request.idempotency_key or f"id-{user}")

    async def GetPrediction(  # noqa: N802
        self, request: pb.GetPredictionRequest, call: Call
    ) -> pb.GetPredictionResponse:
        response = await self.Predict(pb.PredictRequest(), call)
        return pb.GetPredictionResponse(state=pb.PREDICTION_STATE_DONE, response=response)

    async def WatchPrediction(  # noqa: N802
        self, request: pb.WatchPredictionRequest, call: Call
    ) -> AsyncIterator[pb.WatchPredictionResponse]:
        for each in request.prediction_ids:
            result = await self.GetPrediction(pb.GetPredictionRequest(), call)
            yield pb.WatchPredictionResponse(prediction_id=each, result=result)


def movies() -> ScriptedFeatures:
    """Knows the first of three movies, and deletes whatever it is told to."""
    columns = [
        _pack.column("movie_profile.year", [1995.0, None, None], DType.parse("float32"), "f"),
        _pack.column("movie_profile.title", ["Heat", None, None], DType.parse("string"), "f"),
    ]
    servicer = ScriptedFeatures(columns=columns)
    servicer.outcomes = bytes([1, 1])
    return servicer


def run(snippets: list[str], first: str, second: str) -> str:
    names: dict[str, Any] = {}
    said = StringIO()
    with redirect_stdout(said):
        for number, snippet in enumerate(snippets):
            code = snippet.replace("localhost:8500", first).replace("127.0.0.1:8500", second)
            exec(compile(code, f"docs/sdk.md, snippet {number}", "exec"), names)
    return said.getvalue()


async def test_the_guides_snippets_run() -> None:
    snippets = SNIPPET.findall((ROOT / "docs/sdk.md").read_text())
    assert len(snippets) > 8
    async with (
        serving((PREDICTION, Agreeable()), (FEATURES, movies())) as first,
        serving((PREDICTION, Agreeable())) as second,
    ):
        said = await asyncio.to_thread(run, snippets, first, second)
    lines = said.splitlines()
    assert lines[0] == "3 0.5"
    assert "not whole" in lines[1]
    assert "top top: must be 1 to 10000" in lines
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in lines
    assert "id-99 3" in lines
    assert "movie_profile.year: float" in lines
    assert "[<Outcome.APPLIED: 1>, <Outcome.APPLIED: 1>]" in lines
    assert lines[-1] == "3"
