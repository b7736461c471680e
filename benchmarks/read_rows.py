"""ReadFeatures, measured against an echo of the same sizes and a raw MGET of the same rows."""

from __future__ import annotations

import forebay
import numpy as np
from forebay.types import Status
from forebay.v1 import features_pb2, values_pb2
from numpy.typing import NDArray

from benchmarks.bench import Bench, Load, MeasurementFailed, Target
from benchmarks.pairs import Figure, Sample, interleaved, median_us, ratio_figure
from benchmarks.raw_reader import RawReader
from benchmarks.raw_store import RawStore
from benchmarks.store_rows import view_keys
from benchmarks.workload import Workload

READ_FEATURES = "/forebay.v1.FeatureService/ReadFeatures"
_REQUESTS = 10_000
_RAW_S = 0.5


def read_p50(bench: Bench, entities: int) -> Figure:
    """ReadFeatures' p50 at concurrency 1, of `entities` x 60 features, over the sum of the floors."""
    places = np.random.default_rng(entities).integers(bench.workload.entities, size=(_REQUESTS, entities))
    load = bench.requests(f"read-{entities}", READ_FEATURES, read_messages(bench.workload, places))
    check_read(bench, bench.gateway, bench.workload.keys[places[0]].tolist())
    bench.say(f"{entities} entities")
    keys = view_keys(bench.prepared)
    with bench.echo(load.response_bytes) as echo, RawStore(bench.prepared.store.socket) as raw:
        reader = RawReader(raw, [keys["static"], keys["stream"]], places)
        pairs = interleaved(
            lambda: _floor(bench, echo, load, reader),
            lambda: bench.sample(bench.gateway, load, 1, "p50_us"),
            bench.options.repeats,
            bench.tick,
        )
    return ratio_figure(pairs, "us", {"response_bytes": load.response_bytes})


def _floor(bench: Bench, echo: Target, load: Load, reader: RawReader) -> Sample:
    report = bench.load(echo, load, 1)
    raw_us = median_us(reader.read, _RAW_S)
    return Sample(report["p50_us"] + raw_us, report | {"raw_mget_us": raw_us})


def read_messages(workload: Workload, places: NDArray[np.int64]) -> list[bytes]:
    """Return one request of every feature for each row of `places`, (requests, entities)."""
    keys = workload.keys[places]
    message = features_pb2.ReadFeaturesRequest(features=workload.references)
    column = message.keys.add(name="item_id")
    column.values.dtype = values_pb2.DTYPE_INT64
    column.values.shape.append(places.shape[1])
    messages = []
    for row in keys:
        column.values.data = row.tobytes()
        messages.append(message.SerializeToString())
    return messages


def check_read(bench: Bench, gateway: Target, keys: list[int]) -> None:
    """Raise MeasurementFailed unless every value of these entities is there."""
    with forebay.Client(gateway.address) as client:
        table = client.features(bench.workload.references, item_id=keys)
    for reference in bench.workload.references:
        if any(status != Status.PRESENT for status in table.statuses(reference)):
            raise MeasurementFailed(f"not every value of {reference} is there")
