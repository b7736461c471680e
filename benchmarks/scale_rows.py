"""What the gateway costs as it grows: with a second process, and with a thousand times the entities."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.bench import Bench, Load, Target
from benchmarks.pairs import Figure, Sample, interleaved, ratio_figure
from benchmarks.predict_rows import predict_load
from benchmarks.prepared import prepared
from benchmarks.workload import PIPELINE, Workload

_CALLERS = 16
_CONNECTIONS = 16
"""Enough for the kernel to spread them over the processes."""


def two_process_cpu(bench: Bench) -> Figure:
    """The gateway's CPU per call with two processes over that with one, each with the same callers.

    Beside it is noted what two processes cost with the callers of one: batches are smaller then.
    """
    load = predict_load(bench, bench.gateway, PIPELINE, bench.workload.neighbours)
    with bench.serving(processes=2) as two:
        pairs = interleaved(
            lambda: _cpu_per_call(bench, bench.gateway, load, _CALLERS),
            lambda: _cpu_per_call(bench, two, load, 2 * _CALLERS),
            bench.options.repeats,
            bench.tick,
        )
        same_callers = _cpu_per_call(bench, two, load, _CALLERS)
    return ratio_figure(pairs, "us", {"two_processes_same_callers_in_all": same_callers})


def _cpu_per_call(bench: Bench, target: Target, load: Load, concurrency: int) -> Sample:
    """Return the CPU of a gateway's processes per call; the store, which is watched last, is left out."""
    report = bench.load(target, load, concurrency, connections=_CONNECTIONS)
    return Sample(sum(report["watched_cpu_us_per_call"][:-1]), report)


def predict_p50_by_entities(bench: Bench, many: int, few: int) -> Figure:
    """Predict's p50 at concurrency 1 with `many` entities, all of them indexed, over that with `few`."""
    targets = [_served(bench, replace(bench.workload, entities=few, clusters=max(1, few // 100)))]
    targets.append(_served(bench, replace(bench.workload, entities=many, clusters=many // 100)))
    pairs = interleaved(
        lambda: bench.sample(*targets[0], 1, "p50_us"),
        lambda: bench.sample(*targets[1], 1, "p50_us"),
        bench.options.repeats,
        bench.tick,
    )
    return ratio_figure(pairs, "us", {"entities": {"many": many, "few": few}})


def _served(bench: Bench, workload: Workload) -> tuple[Target, Load]:
    application = bench.stay(prepared(bench.work, workload, bench.say))
    target = bench.stay(bench.serving(application))
    return target, predict_load(bench, target, PIPELINE, workload.neighbours, workload)
