"""ReadFeatures, measured against an echo of the same sizes and a raw MGET of the same rows."""

from __future__ import annotations

import forebay
import numpy as np
from forebay.types import Status
from forebay.v1 import features_pb2, values_pb2
from numpy.typing import NDArray

from benchmarks.pairs import Figure, Sample, interleaved, median_us, ratio_figure
from benchmarks.raw_reader import RawReader
from benchmarks.raw_store import RawStore
from benchmarks.store_rows import view_keys
from benchmarks.testbed import Load, MeasurementFailed, Target, Testbed
from benchmarks.workload import Workload

_METHOD = "/forebay.v1.FeatureService/ReadFeatures"
_REQUESTS = 10_000
_RAW_S = 0.5


def read_p50(testbed: Testbed, entities: int) -> Figure:
    """ReadFeatures' p50 at concurrency 1, of `entities` x 60 features, over the sum of the floors."""
    places = np.random.default_rng(entities).integers(testbed.workload.entities, size=(_REQUESTS, entities))
    load = testbed.requests(f"read-{entities}", _METHOD, _messages(testbed.workload, places))
    _check(testbed, places[0])
    testbed.say(f"{entities} entities")
    keys = view_keys(testbed.prepared)
    with testbed.echo(load.response_bytes) as echo, RawStore(testbed.prepared.store.socket) as raw:
        reader = RawReader(raw, [keys["static"], keys["stream"]], places)
        pairs = interleaved(
            lambda: _floor(testbed, echo, load, reader),
            lambda: testbed.sample(testbed.gateway, load, 1, "p50_us"),
            testbed.options.repeats,
            testbed.tick,
        )
    return ratio_figure(pairs, "us", {"response_bytes": load.response_bytes})


def _floor(testbed: Testbed, echo: Target, load: Load, reader: RawReader) -> Sample:
    report = testbed.load(echo, load, 1)
    raw_us = median_us(reader.read, _RAW_S)
    return Sample(report["p50_us"] + raw_us, report | {"raw_mget_us": raw_us})


def _messages(workload: Workload, places: NDArray[np.int64]) -> list[bytes]:
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


def _check(testbed: Testbed, places: NDArray[np.int64]) -> None:
    """Raise MeasurementFailed unless every value that is asked for is there."""
    asked = testbed.workload.keys[places].tolist()
    with forebay.Client(testbed.gateway.address) as client:
        table = client.features(testbed.workload.references, item_id=asked)
    for reference in testbed.workload.references:
        if any(status != Status.PRESENT for status in table.statuses(reference)):
            raise MeasurementFailed(f"not every value of {reference} is there")
