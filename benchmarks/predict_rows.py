"""Predict, measured against an echo of the same sizes; and what the pipeline's parts cost bare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import forebay
import numpy as np
from forebay.v1 import prediction_pb2, values_pb2

from benchmarks.bench import Bench, Load, MeasurementFailed, Target
from benchmarks.floors import bare_run_us, bare_search_us
from benchmarks.pairs import Figure, Pair, interleaved, median_us, ratio_figure
from benchmarks.raw_reader import RawReader
from benchmarks.raw_store import RawStore
from benchmarks.store_rows import view_keys
from benchmarks.workload import PIPELINE, PIPELINE_10, PIPELINE_100, Workload

PREDICT = "/forebay.v1.PredictionService/Predict"
_PART_S = 0.5


def predict_p50(bench: Bench) -> Figure:
    """Predict's p50 at concurrency 1 over the echo's, with what its parts cost bare."""
    load = predict_load(bench, bench.gateway, PIPELINE, bench.workload.neighbours)
    parts = _parts_us(bench)
    pairs = _pairs(bench, load, 1, "p50_us")
    return ratio_figure(pairs, "us", {"bare_us": parts, **cpu_facts(pairs)})


def predict_rate(bench: Bench, concurrency: int) -> Figure:
    """Predict's throughput at a concurrency over the echo's."""
    load = predict_load(bench, bench.gateway, PIPELINE, bench.workload.neighbours)
    pairs = _pairs(bench, load, concurrency, "rate_per_s")
    return ratio_figure(pairs, "/s", cpu_facts(pairs))


def predict_100_vs_10(bench: Bench) -> Figure:
    """Predict's p50 at concurrency 1 with 100 candidates over that with 10."""
    loads = [
        predict_load(bench, bench.gateway, pipeline, candidates)
        for pipeline, candidates in ((PIPELINE_10, 10), (PIPELINE_100, 100))
    ]
    pairs = interleaved(
        lambda: bench.sample(bench.gateway, loads[0], 1, "p50_us"),
        lambda: bench.sample(bench.gateway, loads[1], 1, "p50_us"),
        bench.options.repeats,
        bench.tick,
    )
    return ratio_figure(pairs, "us")


def predict_load(
    bench: Bench, gateway: Target, pipeline: str, candidates: int, workload: Workload | None = None
) -> Load:
    """Return one request of a pipeline for each entity, its answer checked."""
    workload = workload or bench.workload
    check_predict(gateway, pipeline, candidates)
    messages = predict_messages(pipeline, workload.keys.tolist())
    return bench.requests(f"predict-{pipeline}-{workload.entities}", PREDICT, messages, gateway)


def predict_messages(pipeline: str, keys: Sequence[int]) -> list[bytes]:
    """Return one request for each key."""
    return [
        prediction_pb2.PredictRequest(
            pipeline=pipeline, inputs={"item_id": values_pb2.Value(int64_value=key)}
        ).SerializeToString()
        for key in keys
    ]


def _pairs(bench: Bench, load: Load, concurrency: int, measure: str) -> list[Pair]:
    with bench.echo(load.response_bytes) as echo:
        return interleaved(
            lambda: bench.sample(echo, load, concurrency, measure),
            lambda: bench.sample(bench.gateway, load, concurrency, measure),
            bench.options.repeats,
            bench.tick,
        )


def check_predict(gateway: Target, pipeline: str, candidates: int) -> None:
    """Raise MeasurementFailed unless the gateway answers with the entity and its neighbours, in full."""
    key = 42
    with forebay.Client(gateway.address) as client:
        answer = client.predict(pipeline, item_id=key)
    found = [item.entity["item_id"] for item in answer]
    if len(set(found)) != candidates or key not in found or answer.degradations:
        raise MeasurementFailed(
            f"{pipeline} answers {len(found)} items, {len(answer.degradations)} degradations"
        )


def _parts_us(bench: Bench) -> dict[str, float]:
    """Return the median microseconds of each part of a prediction, done bare in this process."""
    bench.say("bare parts")
    workload, application = bench.workload, bench.prepared
    keys = view_keys(application)
    places = np.random.default_rng(0).integers(workload.entities, size=(10_000, workload.neighbours))
    with RawStore(application.store.socket) as raw:
        of_entity = RawReader(raw, [keys["vector"]], places[:, :1])
        of_candidates = RawReader(raw, [keys["static"], keys["stream"]], places)
        parts = {
            "mget_entity": median_us(of_entity.read, _PART_S),
            "search": bare_search_us(application, _PART_S),
            "mget_candidates": median_us(of_candidates.read, _PART_S),
            "run": bare_run_us(application, _PART_S),
        }
    return parts | {"sum": sum(parts.values())}


def cpu_facts(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the CPU microseconds of a call: the floor's, the gateway's, the store's, the client's."""

    def median(values: list[float]) -> float:
        return float(np.median(values))

    ours = [pair.ours.facts for pair in pairs]
    floors = [pair.floor.facts for pair in pairs]
    return {
        "cpu_us_per_call": {
            "floor": median([facts["watched_cpu_us_per_call"][0] for facts in floors]),
            "gateway": median([facts["watched_cpu_us_per_call"][0] for facts in ours]),
            "store": median([facts["watched_cpu_us_per_call"][1] for facts in ours]),
            "client": median([facts["client_cpu_us_per_call"] for facts in ours]),
        },
        "client_cpu_ratio": statistics.median(facts["client_cpu_ratio"] for facts in ours),
        "p99_us": median([facts["p99_us"] for facts in ours]),
    }
