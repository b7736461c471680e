"""Predict with rows kept at hand (`near_cache`) against Predict that reads all of them from the store: most
calls are for few entities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import yaml

from benchmarks.bench import Bench
from benchmarks.pairs import Figure, Pair, interleaved, ratio_figure
from benchmarks.predict_rows import PREDICT, check_predict, cpu_facts, predict_messages
from benchmarks.processes import run
from benchmarks.workload import PIPELINE, Workload, definition

_HOT_ENTITIES = 0.01
_HOT_CALLS = 0.95
_REQUESTS = 10_000
_KEPT = "1h"
_OFF = {"FOREBAY_FEATURE_STORE__NEAR_CACHE_MAX_BYTES": "0"}
_WARM_UP_S = 10.0
_WARM_UP_CALLERS = 16


def near_cache_gain(bench: Bench) -> Figure:
    """Predict's p50 at concurrency 1 without the near cache over that with it: how many times better it is.

    95% of the calls are for 1% of the entities; what is measured has been asked for these before.
    """
    messages = predict_messages(PIPELINE, _skewed(bench.workload))
    with _declared(bench), ExitStack() as gateways:
        off = gateways.enter_context(bench.serving(settings=_OFF))
        on = gateways.enter_context(bench.serving())
        for gateway in (off, on):
            check_predict(gateway, PIPELINE, bench.workload.neighbours)
        load = bench.requests("predict-skewed", PREDICT, messages, off)
        bench.load(on, load, _WARM_UP_CALLERS, _WARM_UP_S)
        pairs = interleaved(
            lambda: bench.sample(on, load, 1, "p50_us"),
            lambda: bench.sample(off, load, 1, "p50_us"),
            bench.options.repeats,
            bench.tick,
        )
    return ratio_figure(pairs, "us", _facts(pairs))


def _facts(pairs: list[Pair]) -> dict[str, object]:
    return {"floor": "with the near cache", "ours": "without", **cpu_facts(pairs)}


def _skewed(workload: Workload) -> list[int]:
    """Return whom the calls are for."""
    rng = np.random.default_rng(0)
    hot = rng.choice(workload.keys, max(1, round(_HOT_ENTITIES * workload.entities)), replace=False)
    of_hot = round(_HOT_CALLS * _REQUESTS)
    keys = np.concatenate([rng.choice(hot, of_hot), rng.choice(workload.keys, _REQUESTS - of_hot)])
    asked: list[int] = keys.tolist()
    return asked


@contextmanager
def _declared(bench: Bench) -> Iterator[None]:
    """Have every view of the live application declare a near cache, and take it back."""
    application = bench.prepared
    declared = definition(bench.workload)
    for view in declared["views"].values():
        view["near_cache"] = _KEPT
    file = application.directory / "near_cache.yaml"
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    run(application.forebay("apply", str(file)), application.directory)
    try:
        yield
    finally:
        run(
            application.forebay("apply", str(application.directory / "application.yaml")),
            application.directory,
        )
