"""Rows of tiles, byte for byte: stored rows outlive the worker that wrote them."""

import numpy as np
import pytest

from feature_store.codec import WindowReader
from feature_store.memory_store import MemoryStore
from feature_store.redis_store import RedisStore
from feature_store.store import OnlineStore
from feature_store.windows.events import EventBlock, Source
from feature_store.windows.freshness import StreamFreshness
from feature_store.windows.writer import WindowWriter
from registry.rings import Ring, ring_of
from runtime.redis_connection import RedisConnection
from tests.support.windowed_view import EVERY_AGGREGATE, MINUTE_US, NOW_US, windowed_view

ROW = bytes.fromhex(
    "0100 01 04 00c7b11b240a0600 004e451f240a0600"  # schema, version, flags, event time, write time
    "0300 0100 000000000000e0ff"  # tiles, positions, never deleted
    # Each tile: its number, count, sum, m2, min, max, last and its time. The first has no value.
    "0000002051056b41 0000000000000000 0000000000000000 0000000000000000"
    "000000000000f07f 000000000000f0ff 0000000000000000 000000000000f0ff"
    "0000004051056b41 000000000000f03f 0000000000000040 0000000000000000"
    "0000000000000040 0000000000000040 0000000000000040 0000796090281843"
    "0000006051056b41 000000000000f03f 000000000000e0bf 0000000000000000"
    "000000000000e0bf 000000000000e0bf 000000000000e0bf 001cc76e90281843"
    "0500000000000080 03000000 0900000000010000"  # incarnation, partition, position
)


async def written(store: OnlineStore) -> bytes:
    """Return the row after three events of a source, in three tiles, one of them without a value."""
    view = windowed_view(EVERY_AGGREGATE)
    block = EventBlock(
        Source(2**63 + 5, 3),
        ["42"] * 3,
        np.array([NOW_US, NOW_US + MINUTE_US, NOW_US - 2 * MINUTE_US]),
        np.array([2**40, 2**40 + 1, 2**40 + 9]),
        {"x": np.array([2.0, -0.5, np.nan])},
    )
    writer = WindowWriter(view, 1, 60.0)
    await writer.apply(store, block, NOW_US + 2 * MINUTE_US)
    [row] = await store.get_many(WindowReader(view, 1, StreamFreshness()).row_keys(["42"]))
    assert row is not None
    return row


async def test_a_row_of_tiles_has_these_bytes_when_written_in_memory() -> None:
    assert (await written(MemoryStore())).hex() == ROW.hex()


async def test_a_row_of_tiles_has_these_bytes_when_written_by_a_server(connection: RedisConnection) -> None:
    assert (await written(RedisStore(connection))).hex() == ROW.hex()


@pytest.mark.parametrize(("later_us", "count", "total"), [(MINUTE_US, 2, 1.5), (12 * MINUTE_US, 1, -0.5)])
def test_windows_come_back_when_these_bytes_are_read(later_us: int, count: int, total: float) -> None:
    reader = WindowReader(windowed_view(EVERY_AGGREGATE), 1, StreamFreshness())
    block = reader.decode([ROW], NOW_US + later_us)
    assert block.column("count").values.tolist() == [count]  # type: ignore[union-attr]
    assert block.column("sum").values.tolist() == [total]  # type: ignore[union-attr]
    assert block.column("last").values.tolist() == [-0.5]  # type: ignore[union-attr]
    assert block.event_times_us.tolist() == [NOW_US + MINUTE_US]


def test_a_ring_has_this_layout_when_stored_in_a_plan() -> None:
    ring = ring_of(EVERY_AGGREGATE.values())
    assert ring.layout() == (("(ring)", "6 x 2m"), ("x", "count sum m2 min max last"))
    assert Ring.of_layout(ring.layout()) == ring
