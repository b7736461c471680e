"""What windows read as is what a recount of the events gives, whatever their order, their partitions and how
often they are replayed."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.codec import WindowReader
from feature_store.memory_store import MemoryStore
from feature_store.windows.events import EventOutcome, Source
from feature_store.windows.freshness import StreamFreshness
from feature_store.windows.writer import WindowWriter
from tests.support.examples import examples
from tests.support.windowed_view import (
    EVERY_AGGREGATE,
    MINUTE_US,
    NOW_US,
    Rated,
    block_of,
    recount,
    window,
    windowed_view,
)

TEXTS = ["1", "2", "3"]
WINDOWS = {
    **EVERY_AGGREGATE,
    "long": window("stddev", over="28m", tile="4m"),
    "short": window("sum", over="2m", tile="1m"),
}
moments = st.integers(0, 20 * 60).map(lambda second: NOW_US + second * 1_000_000)
values = st.floats(-1e6, 1e6).map(lambda value: round(value, 3)) | st.just(math.nan) | st.just(1e9)
events = st.lists(st.builds(Rated, st.sampled_from(TEXTS), moments, values), max_size=30)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(partitions=st.lists(events, min_size=1, max_size=3), seed=st.integers(0, 2**32))
async def test_windows_equal_a_recount_when_events_are_replayed_out_of_order(
    partitions: list[list[Rated]], seed: int
) -> None:
    chance = Random(seed)
    view, store = windowed_view(WINDOWS), MemoryStore()
    writer, reader = WindowWriter(view, 1, 60.0), WindowReader(view, 1, StreamFreshness())
    for number, log in enumerate(partitions):
        done = 0
        while done < len(log):
            start = chance.randint(0, done)
            stop = chance.randint(done + 1, len(log))
            block = block_of(log[start:stop], Source(9, number), start)
            await writer.apply(store, block, NOW_US + 20 * MINUTE_US)
            done = stop
    for number, log in enumerate(partitions):
        start = chance.randint(0, len(log))
        again = await writer.apply(store, block_of(log[start:], Source(9, number), start), NOW_US)
        assert set(again.tolist()) <= {EventOutcome.REPEATED}
    everything = [event for log in partitions for event in log]
    newest_us = max((event.event_time_us for event in everything), default=NOW_US)
    now_us = newest_us + chance.randint(0, 40 * 60) * 1_000_000
    block = reader.decode(await store.get_many(reader.row_keys(TEXTS)), now_us)
    for name, defined in WINDOWS.items():
        expected = [recount(everything, text, defined, now_us) for text in TEXTS]
        found = np.asarray(block.column(name).values, np.float64).tolist()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-3, nan_ok=True), name
