"""Events that can't be applied for a while: what was done counts, and counts once."""

import numpy as np
import pytest
from forebay.errors import Unavailable

from feature_store.redis_store import RedisStore
from feature_store.windows.events import EventBlock, EventOutcome, Source
from feature_store.windows.ring_row import RingForm, unpack_ring
from registry.rings import Ring, RingField
from runtime.engine_settings import FeatureStoreSettings
from runtime.redis_connection import RedisConnection

FORM = RingForm(1, Ring(1000, 4, (RingField("x", ("count",)),)))
COUNT = 200
KEYS = [b"%d" % (place % 50) for place in range(COUNT)]


def block() -> EventBlock:
    positions = np.arange(COUNT, dtype=np.int64)
    return EventBlock(Source(1, 0), ["-"] * COUNT, positions + 1, positions, {"x": np.ones(COUNT)})


async def counts(store: RedisStore) -> list[float]:
    rows = [unpack_ring(FORM, row or b"") for row in await store.get_many(KEYS[:50])]
    return [0.0 if row is None else row.tiles[0][0] for row in rows]


async def test_events_count_once_when_the_server_was_out_of_memory(connection: RedisConnection) -> None:
    store = RedisStore(connection, FeatureStoreSettings(write_chunk_rows=10))
    await connection.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(Unavailable, match="the online store refuses"):
            await store.apply_events(KEYS, block(), FORM, 1000, 60.0)
    finally:
        await connection.execute("CONFIG", "SET", "maxmemory", "0")
    assert await counts(store) == [0.0] * 50
    outcomes = await store.apply_events(KEYS, block(), FORM, 1000, 60.0)
    assert set(outcomes.tolist()) == {EventOutcome.APPLIED}
    assert await counts(store) == [4.0] * 50


async def test_events_count_once_when_a_call_ended_in_the_middle(connection: RedisConnection) -> None:
    store = RedisStore(connection, FeatureStoreSettings(write_chunk_rows=10))
    whole = block()
    part = EventBlock(
        whole.source,
        whole.texts[:70],
        whole.event_times_us[:70],
        whole.positions[:70],
        {"x": whole.values["x"][:70]},
    )
    await store.apply_events(KEYS[:70], part, FORM, 1000, 60.0)  # As much of it as was done.
    outcomes = await store.apply_events(KEYS, whole, FORM, 1000, 60.0)
    assert outcomes.tolist() == [EventOutcome.REPEATED] * 70 + [EventOutcome.APPLIED] * 130
    assert await counts(store) == [4.0] * 50


async def test_a_key_of_another_type_is_corrupt_when_events_come_for_it(connection: RedisConnection) -> None:
    store = RedisStore(connection)
    await connection.execute("RPUSH", "0", "somebody's")
    outcomes = await store.apply_events(KEYS, block(), FORM, 1000, 60.0)
    wrong = [EventOutcome.CORRUPT if key == b"0" else EventOutcome.APPLIED for key in KEYS]
    assert outcomes.tolist() == wrong
    assert await connection.execute("LLEN", "0") == 1
