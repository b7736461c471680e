"""`python -m benchmarks.cpu_parts`: the CPU microseconds of one Predict by part, alone and among 32.

The parts run in this process, without gRPC, on the prepared application: requests as bytes in, responses as
bytes out, through the gateway's own steps, each part timed by the thread's processor time without the parts
inside it (the timing itself adds about a microsecond to each). What gRPC costs is the echo's CPU under the
same load; what then remains of the gateway's CPU under that load is what the parts cost more when a server
runs around them: cold caches, the poller's thread, memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import uvloop
from forebay.deadline import Deadline
from forebay.v1 import prediction_pb2 as pb
from rich.console import Console
from rich.table import Table

import gateway.predict
import gateway.steps.hydrate
import gateway.steps.retrieve
import gateway.steps.run_model
from ann_index.faiss_index import FaissIndex
from benchmarks.__main__ import OUT
from benchmarks.bench import Bench, Options
from benchmarks.predict_rows import predict_load, predict_messages
from benchmarks.prepared import Prepared
from benchmarks.stopwatch import Stopwatch
from benchmarks.workload import APP, PIPELINE
from feature_store.redis_store import RedisStore
from feature_store.view_reader import ViewReader
from gateway.admit import PredictRequest
from gateway.answer_wire import AnswerWriter
from gateway.backend import shelf
from gateway.live import LiveRelease
from gateway.plan import CompiledPipeline
from gateway.predict import Predictor
from model_server.onnx_runner import OnnxRunner
from registry.registry import Registry
from runtime.batcher import Criticality
from runtime.clock import Clock, SystemClock
from runtime.offload import Offload
from runtime.recent import RecentRequests
from runtime.redis_connection import RedisConnection
from runtime.rpc.call import Call
from runtime.rpc.layers import deadline, errors, telemetry
from runtime.rpc.traffic import Traffic
from runtime.settings import load_settings

CONCURRENCIES = (1, 32)
TIMED = (
    (gateway.predict, "admit", "admit"),
    (gateway.steps.hydrate, "hydrate", "hydrate: keys"),
    (gateway.steps.hydrate, "hydrate_candidates", "hydrate: keys"),
    (RedisStore, "get_many", "reads"),
    (ViewReader, "decode", "decode"),
    (gateway.steps.hydrate, "settle", "statuses"),
    (gateway.steps.retrieve, "retrieve", "retrieve: queries, keys"),
    (FaissIndex, "search", "search"),
    (gateway.predict, "assemble", "assemble"),
    (gateway.steps.run_model, "run_model", "predict: outputs"),
    (OnnxRunner, "run", "run"),
    (gateway.predict, "select", "select"),
)
"""Which functions are which part."""

_INLINE_S = 10.0
_WARM_UP = 200
_TIMEOUT_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write benchmarks/out/cpu_parts.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_parts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--entities", type=int, default=100_000, help="fewer: for a quick look, no figures")
    options = parser.parse_args(arguments)
    console = Console()
    wanted = Options(options.seconds, entities=options.entities)
    with Bench(OUT / "work", wanted, lambda _: None, lambda _: None) as bench:
        served = {concurrency: _served_us(bench, concurrency) for concurrency in CONCURRENCIES}
        parts = uvloop.run(_parts_us(bench.prepared, options.seconds))
    found = {str(each): _complete(parts[each], *served[each]) for each in CONCURRENCIES}
    (OUT / "cpu_parts.json").write_text(json.dumps(found, indent=2) + "\n")
    console.print(_table(found))
    return 0


def _served_us(bench: Bench, concurrency: int) -> tuple[float, float]:
    """Return the CPU per call of the gateway, and of an echo of the same sizes, under load."""
    load = predict_load(bench, bench.gateway, PIPELINE, bench.workload.neighbours)
    with bench.echo(load.response_bytes) as echo:
        floor = bench.load(echo, load, concurrency)
    ours = bench.load(bench.gateway, load, concurrency)
    return ours["watched_cpu_us_per_call"][0], floor["watched_cpu_us_per_call"][0]


def _complete(parts: dict[str, float], gateway_us: float, echo_us: float) -> dict[str, float]:
    """Return all parts of a call, with gRPC's and what no part accounts for; they add up to the gateway's."""
    known = {"gRPC (the echo)": echo_us, **parts}
    return {**known, "not accounted for": gateway_us - sum(known.values()), "gateway under load": gateway_us}


def _table(found: dict[str, dict[str, float]]) -> Table:
    table = Table(title="CPU microseconds per Predict")
    table.add_column("part")
    for concurrency in found:
        table.add_column(f"c={concurrency}", justify="right")
    for part in next(iter(found.values())):
        table.add_row(part, *[f"{parts.get(part, 0.0):.0f}" for parts in found.values()])
    return table


async def _parts_us(application: Prepared, seconds: float) -> dict[int, dict[str, float]]:
    watch = Stopwatch(time.thread_time)
    for owner, name, part in TIMED:
        watch.wrap(owner, name, part)
    settings = load_settings(app=APP, redis_url=application.store.url, artifacts=str(application.artifacts))
    clock = SystemClock()
    messages = predict_messages(PIPELINE, application.workload.keys[:10_000].tolist())
    async with AsyncExitStack() as stack:
        connection = RedisConnection.open(application.store.url, settings.redis, clock)
        stack.push_async_callback(connection.aclose)
        offload = Offload(clock, threads=1, inline_below_s=_INLINE_S)
        stack.callback(offload.close)
        live = LiveRelease(
            Registry(connection, APP, clock), lambda root: shelf(settings, root), settings.registry.poll_s
        )
        pipeline = await _pipeline(live)
        predictor = Predictor(RedisStore(connection, settings.feature_store), offload, clock)
        stack.push_async_callback(predictor.aclose)
        caller = _Caller(pipeline, predictor, clock, watch, messages)
        gc.freeze()
        return {each: await caller.measure(each, seconds) for each in CONCURRENCIES}


async def _pipeline(live: LiveRelease) -> CompiledPipeline:
    """Return the pipeline once its release is loaded."""
    loaded = asyncio.Event()

    async def on_swap(_: object) -> None:
        loaded.set()

    following = asyncio.ensure_future(live.follow(on_swap))
    await loaded.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return live.current.pipeline(PIPELINE)


class _Caller:
    """Makes predictions as the servicer does, from bytes to bytes."""

    def __init__(
        self,
        pipeline: CompiledPipeline,
        predictor: Predictor,
        clock: Clock,
        watch: Stopwatch,
        messages: Sequence[bytes],
    ) -> None:
        self._pipeline = pipeline
        self._predictor = predictor
        self._clock = clock
        self._watch = watch
        self._messages = messages
        self._writer = AnswerWriter()
        self._turn = 0

    async def measure(self, concurrency: int, seconds: float) -> dict[str, float]:
        """Return the CPU microseconds of a call by part, with `concurrency` calls at a time."""
        for _ in range(_WARM_UP):
            await self._together(concurrency)
        self._watch.clear()
        rounds, end_s, start_s = 0, time.perf_counter() + seconds, time.process_time()
        while time.perf_counter() < end_s:
            await self._together(concurrency)
            rounds += 1
        calls = rounds * concurrency
        used_us = (time.process_time() - start_s) / calls * 1e6
        parts = {name: spent_s / calls * 1e6 for name, spent_s in self._watch.seconds.items()}
        rest_us = used_us - sum(parts.values())
        return {
            **parts,
            "admission, batcher, gates, loop": rest_us,
            "telemetry, deadline, errors": _layers_us(self._clock),
        }

    async def _together(self, concurrency: int) -> None:
        await asyncio.gather(*[self._one() for _ in range(concurrency)])

    async def _one(self) -> bytes:
        self._turn = (self._turn + 1) % len(self._messages)
        with self._watch.part("protobuf"):
            message = pb.PredictRequest.FromString(self._messages[self._turn])
        admitted_s = self._clock.monotonic_s()
        answer = await self._predictor.predict(
            PredictRequest(
                pipeline=self._pipeline,
                criticality=Criticality.DEFAULT,
                inputs=message.inputs,
                candidates=message.candidates,
                top=None,
                return_features=message.return_features,
                deadline=Deadline(admitted_s + _TIMEOUT_S),
                admitted_s=admitted_s,
                trace_id="0" * 32,
                stages=[],
            )
        )
        with self._watch.part("protobuf"):
            return self._writer.bytes(answer)


class _Context:
    """As much of gRPC's context as the layers ask for."""

    def time_remaining(self) -> float:
        return _TIMEOUT_S

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "bench"),)

    def add_done_callback(self, _callback: Any) -> None:
        pass


def _layers_us(clock: Clock) -> float:
    """Return what the layers around a method cost, less a bare coroutine."""

    async def method(_request: Any, call: Call) -> bytes:
        return b""

    async def bare(_request: Any, _context: Any) -> bytes:
        return b""

    traffic = Traffic()
    step = errors(deadline(method, _TIMEOUT_S), traffic.stopping)
    wrapped = telemetry(step, "bench", clock, RecentRequests(256), traffic)
    context = cast(Any, _Context())
    calls = 5_000
    used_s = []
    for handler in (bare, wrapped):
        start_s = time.thread_time()
        for _ in range(calls):
            _finish(handler(b"", context))
        used_s.append(time.thread_time() - start_s)
    return (used_s[1] - used_s[0]) / calls * 1e6


def _finish(answer: Awaitable[bytes]) -> None:
    """Run a coroutine that awaits nothing."""
    try:
        next(answer.__await__())
    except StopIteration:
        return
    raise RuntimeError("a layer waits for something")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
