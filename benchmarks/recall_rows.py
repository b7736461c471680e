"""Predict answered from the prediction cache, against an echo of the same sizes; and StreamPredict against
Predict."""

from __future__ import annotations

import forebay

from benchmarks.bench import Bench, Load, MeasurementFailed
from benchmarks.load import write_requests
from benchmarks.pairs import Figure, Sample, interleaved, ratio_figure
from benchmarks.predict_rows import PREDICT, cpu_facts, predict_load, predict_messages
from benchmarks.workload import CACHED_PIPELINE, PIPELINE

STREAM_PREDICT = "/forebay.v1.PredictionService/StreamPredict"
STREAM_CONCURRENCY = 32
_HOT = 100
"""How many entities the hot set has."""


def cache_hit_p50(bench: Bench) -> Figure:
    """The p50 at concurrency 1 of answers that the prediction cache holds, over the echo's."""
    hot = bench.workload.keys[:: max(1, bench.workload.entities // _HOT)][:_HOT].tolist()
    with forebay.Client(bench.gateway.address) as client:
        for key in hot:
            client.predict(CACHED_PIPELINE, item_id=key)
        outcomes = {client.predict(CACHED_PIPELINE, item_id=key).provenance.cache for key in hot}
    if outcomes != {"HIT"}:
        raise MeasurementFailed(f"answers of the hot set don't come from the cache: {sorted(outcomes)}")
    messages = predict_messages(CACHED_PIPELINE, hot)
    load = bench.requests("predict-cached", PREDICT, messages)
    with bench.echo(load.response_bytes) as echo:
        pairs = interleaved(
            lambda: bench.sample(echo, load, 1, "p50_us"),
            lambda: bench.sample(bench.gateway, load, 1, "p50_us"),
            bench.options.repeats,
            bench.tick,
        )
    return ratio_figure(pairs, "us", cpu_facts(pairs))


def stream_rate(bench: Bench) -> Figure:
    """StreamPredict's throughput on one stream with 32 messages under way, over Predict's with 32 calls."""
    load = predict_load(bench, bench.gateway, PIPELINE, bench.workload.neighbours)
    file = bench.work / "stream.requests"
    write_requests(file, predict_messages(PIPELINE, bench.workload.keys.tolist()))
    stream = Load(STREAM_PREDICT, file)
    pairs = interleaved(
        lambda: bench.sample(bench.gateway, load, STREAM_CONCURRENCY, "rate_per_s"),
        lambda: _streamed(bench, stream),
        bench.options.repeats,
        bench.tick,
    )
    return ratio_figure(pairs, "/s", {"concurrency": STREAM_CONCURRENCY})


def _streamed(bench: Bench, load: Load) -> Sample:
    report = bench.stream_load(bench.gateway, load, STREAM_CONCURRENCY)
    return Sample(report["rate_per_s"], report)
