"""Streams into a view with three windows: how many events per second one process applies, and how soon an
event can be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.bench import Bench, MeasurementFailed
from benchmarks.pairs import Figure, Sample, interleaved, ratio_figure
from benchmarks.prepared import forebay
from benchmarks.processes import ROOT, Server, run_json
from benchmarks.raw_store import RawStore
from benchmarks.stream_workload import APP, EVENTS_KEY, Events, added, apply, drawn, row_keys
from feature_store.redis_store import APPLY_EVENTS, CHUNK_EVENTS
from feature_store.windows.row_events import row_events, script_arguments
from feature_store.windows.writer import WindowWriter
from runtime.embedded_store import TemporaryStore
from runtime.engine_settings import FeatureStoreSettings
from runtime.stream_settings import StreamSettings

_EVENTS = 50_000
_ENTITIES = 10_000
_RATE_PER_S = 200
_FRESH_S = 3.0
_SETTLE_S = 1.0
_POLL_S = 0.000_2
_LOST_S = 5.0

Command = tuple[bytes | str | int, ...]


def rate(bench: Bench) -> Figure:
    """Events per second from the stream into rows, checked and decoded, over those of the bare script."""
    events = drawn(min(_EVENTS, 10 * bench.options.entities), _ENTITIES)
    pairs = interleaved(
        lambda: _scripts(bench, events), lambda: _worker(bench, events), bench.options.repeats, bench.tick
    )
    return ratio_figure(pairs, "events/s", {"events": len(events.keys), "entities": _ENTITIES})


def freshness(bench: Bench) -> Figure:
    """The p99 from adding an event until its row can be read, over that of a bare XADD until it is read."""
    count = round(_RATE_PER_S * max(bench.options.seconds, _FRESH_S))
    pairs = interleaved(
        lambda: _added_to_read(count), lambda: _added_to_row(bench, count), bench.options.repeats, bench.tick
    )
    return ratio_figure(pairs, "us", {"rate_per_s": _RATE_PER_S, "events": count})


def _scripts(bench: Bench, events: Events) -> Sample:
    """Apply the events by pipelined EVALSHAs: the worker's script, chunks and arguments."""
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        writer = apply(store, bench.work / "streamed")
        raw.execute("SCRIPT", "LOAD", APPLY_EVENTS.text)
        commands = _script_commands(events, writer)
        start_s = time.perf_counter()
        raw.execute_many(commands)
        seconds = time.perf_counter() - start_s
        _check_rows(raw, writer, events)
    return Sample(len(events.keys) / seconds, {"scripts": len(commands)})


def _script_commands(events: Events, writer: WindowWriter) -> list[Command]:
    commands: list[Command] = []
    chunk, settings = StreamSettings().chunk_events, FeatureStoreSettings()
    for start in range(0, len(events.keys), chunk):
        block = events.block(writer, start, start + chunk)
        rows = row_events(writer.form, writer.row_keys(block.texts), block)
        shared = script_arguments(writer.form, block, time.time_ns() // 1_000, writer.kept_s)
        for span in rows.spans(settings.write_chunk_rows, CHUNK_EVENTS):
            keys = rows.keys[span]
            commands.append(("EVALSHA", APPLY_EVENTS.sha, len(keys), *keys, *shared, *rows.packed[span]))
    return commands


def _worker(bench: Bench, events: Events) -> Sample:
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        writer = apply(store, bench.work / "streamed")
        raw.execute_many(events.commands())
        command = [sys.executable, "-m", "benchmarks.stream_worker", "--app", APP, "--redis", store.url]
        report = run_json(command, ROOT)
        _check_rows(raw, writer, events)
    if report["applied"] != len(events.keys):
        raise MeasurementFailed(f"the worker applied {report['applied']} of {len(events.keys)} events")
    return Sample(len(events.keys) / report["seconds"], report)


def _check_rows(raw: RawStore, writer: WindowWriter, events: Events) -> None:
    """Raise MeasurementFailed unless there is a row for each entity."""
    keys = row_keys(writer, np.unique(events.keys).tolist())
    found = raw.execute("EXISTS", *keys)
    if found != len(keys):
        raise MeasurementFailed(f"{found} of {len(keys)} entities have a row")


def _added_to_read(count: int) -> Sample:
    """Add events at the rate, read each as it comes with a blocking XREAD on another connection."""
    with TemporaryStore() as store, RawStore(store.socket) as adding, RawStore(store.socket) as reading:
        taken_s, last = [], "0-0"
        begin_s = time.perf_counter()
        for number in range(count):
            _wait_until(begin_s + number / _RATE_PER_S)
            reading.send("XREAD", "BLOCK", 1_000, "STREAMS", EVENTS_KEY, last)
            start_s = time.perf_counter()
            adding.send(*added(number, 0.5, time.time_ns() // 1_000))
            (stream,) = reading.receive()
            taken_s.append(time.perf_counter() - start_s)
            last = stream[1][-1][0]
            adding.receive()
    return _p99(taken_s)


def _added_to_row(bench: Bench, count: int) -> Sample:
    """Add events at the rate, each of a new entity, and look for the rows of those that have none yet."""
    with TemporaryStore() as store, RawStore(store.socket) as raw:
        directory = bench.work / "streamed"
        writer = apply(store, directory)
        command = forebay(store, directory, "stream", "run", "--app", APP)
        with Server(command, directory, bench.work / "stream_worker.log"):
            _first_row(raw, writer)
            time.sleep(_SETTLE_S)
            return _p99(_times_to_row(raw, row_keys(writer, range(count)), count))


def _first_row(raw: RawStore, writer: WindowWriter) -> None:
    """Wait until the worker has its partition: until an event has a row."""
    raw.execute(*added(-1, 0.5, time.time_ns() // 1_000))
    (key,) = row_keys(writer, [-1])
    give_up_s = time.perf_counter() + _LOST_S + 10
    while not raw.execute("EXISTS", key):
        if time.perf_counter() > give_up_s:
            raise MeasurementFailed("the stream's worker applies nothing")
        time.sleep(0.01)


def _times_to_row(raw: RawStore, keys: Sequence[bytes], count: int) -> list[float]:
    sent_s: list[float] = []
    taken_s: list[float] = []
    begin_s = time.perf_counter()
    while len(taken_s) < count:
        now_s = time.perf_counter()
        if len(sent_s) < count and now_s >= begin_s + len(sent_s) / _RATE_PER_S:
            sent_s.append(now_s)
            raw.execute(*added(len(sent_s) - 1, 0.5, time.time_ns() // 1_000))
        waiting = keys[len(taken_s) : len(sent_s)]
        found = raw.execute("EXISTS", *waiting) if waiting else 0
        now_s = time.perf_counter()
        taken_s += [now_s - sent for sent in sent_s[len(taken_s) : len(taken_s) + found]]
        if len(taken_s) < len(sent_s) and now_s - sent_s[len(taken_s)] > _LOST_S:
            raise MeasurementFailed(f"an event has no row after {_LOST_S:g} s")
        if not found:
            time.sleep(_POLL_S)
    return taken_s


def _p99(taken_s: Sequence[float]) -> Sample:
    p50, p99 = np.percentile(taken_s, [50, 99]) * 1e6
    return Sample(float(p99), {"p50_us": float(p50), "events": len(taken_s)})


def _wait_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.perf_counter()))
