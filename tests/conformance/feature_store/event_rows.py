"""What every OnlineStore does with events: rows of tiles. OnlineStoreSuite has these tests too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded

from feature_store.row_header import pack_header
from feature_store.store import OnlineStore
from feature_store.types import Outcome
from feature_store.windows.events import EventBlock, EventOutcome, Source
from feature_store.windows.ring_row import MAX_POSITIONS, RingForm, RingRow, unpack_ring
from registry.rings import Ring, RingField

APPLIED, REPEATED, LATE = EventOutcome.APPLIED, EventOutcome.REPEATED, EventOutcome.LATE
DELETED, CORRUPT, CROWDED = EventOutcome.DELETED, EventOutcome.CORRUPT, EventOutcome.CROWDED
PASSED = Deadline(0.0)
KEPT_S = 60.0
TILE_US = 1000
FORM = RingForm(1, Ring(TILE_US, 4, (RingField("x", ("count", "sum", "max")),)))
NOW_US = 100 * TILE_US
SOURCE = Source(7, 0)


def block(times_us: Sequence[int], first: int = 0, source: Source = SOURCE) -> EventBlock:
    """Return events of value 1.0 at these times."""
    count = len(times_us)
    return EventBlock(
        source,
        ["-"] * count,
        np.array(times_us, np.int64),
        np.arange(first, first + count, dtype=np.int64),
        {"x": np.ones(count)},
    )


async def apply(
    store: OnlineStore, times_us: Sequence[int], first: int = 0, source: Source = SOURCE, key: bytes = b"k"
) -> list[int]:
    """Apply events at these times to one row; return their outcomes."""
    events = block(times_us, first, source)
    return (await store.apply_events([key] * len(times_us), events, FORM, NOW_US, KEPT_S)).tolist()


async def tiles(store: OnlineStore, key: bytes = b"k") -> dict[int, list[float]]:
    """Return the parts of a row's tiles, by number."""
    return (await ring_row(store, key)).tiles


async def ring_row(store: OnlineStore, key: bytes = b"k") -> RingRow:
    [stored] = await store.get_many([key])
    row = unpack_ring(FORM, stored or b"")
    assert row is not None
    return row


class EventRowsSuite:
    """Subclass it by way of OnlineStoreSuite."""

    async def test_events_are_in_their_tiles_once_when_applied_again(self, store: OnlineStore) -> None:
        times_us = [99_001, 100_000, 98_500, 100_001]
        assert await apply(store, times_us) == [APPLIED] * 4
        assert await tiles(store) == {98: [1, 1, 1], 99: [2, 2, 1], 100: [1, 1, 1]}
        stored = await store.get_many([b"k"])
        assert await apply(store, times_us) == [REPEATED] * 4
        assert await apply(store, times_us[1:3], 1) == [REPEATED] * 2
        assert await store.get_many([b"k"]) == stored

    async def test_events_are_applied_from_where_a_replay_comes_to_new_ones(self, store: OnlineStore) -> None:
        await apply(store, [99_001] * 3)
        assert await apply(store, [99_001] * 4, 1) == [REPEATED] * 2 + [APPLIED] * 2
        assert await tiles(store) == {99: [5, 5, 1]}

    async def test_positions_count_apart_when_sources_differ(self, store: OnlineStore) -> None:
        largest = Source(2**64 - 1, 2**32 - 1)
        for source in (SOURCE, Source(7, 1), largest, Source(0, 1), Source(8, 0), Source(0, 0)):
            assert await apply(store, [99_001], 5, source) == [APPLIED]
            assert await apply(store, [99_001], 5, source) == [REPEATED]
        assert await tiles(store) == {99: [6, 6, 1]}
        assert await apply(store, [99_001], 6, SOURCE) == [APPLIED]
        assert [*(await ring_row(store)).positions.values()] == [5] * 5 + [6]

    async def test_late_events_are_dropped_when_their_tile_has_left_the_ring(
        self, store: OnlineStore
    ) -> None:
        assert await apply(store, [90_001, 94_001, 90_001, 91_000, 91_001]) == [
            *[APPLIED, APPLIED, LATE, LATE],
            APPLIED,
        ]
        assert await tiles(store) == {91: [1, 1, 1], 94: [1, 1, 1]}
        assert await apply(store, [90_001], 4) == [REPEATED]

    async def test_present_tiles_stay_when_events_come_from_the_future(self, store: OnlineStore) -> None:
        assert await apply(store, [96_001, 99_001, 100_001, 150_001, 96_001]) == [APPLIED] * 5
        assert sorted(await tiles(store)) == [96, 99, 100, 150]

    async def test_the_oldest_tiles_go_when_a_great_many_are_in_the_future(self, store: OnlineStore) -> None:
        await apply(store, [1 + number * TILE_US for number in range(200, 400)])
        assert sorted(await tiles(store)) == list(range(272, 400))

    async def test_a_deletion_holds_when_older_events_come_later(self, store: OnlineStore) -> None:
        await apply(store, [99_001])
        assert (await store.bury_many([b"k"], 99_500, KEPT_S)).tolist() == [Outcome.APPLIED]
        assert await apply(store, [99_001, 99_500], 1) == [DELETED] * 2
        assert await apply(store, [99_501, 99_500], 3) == [APPLIED, DELETED]
        assert await apply(store, [99_100, 99_800], 5) == [DELETED, APPLIED]
        assert await tiles(store) == {99: [2, 2, 1]}

    async def test_a_deletion_takes_the_row_when_events_came_meanwhile(self, store: OnlineStore) -> None:
        await apply(store, [99_001, 99_900])
        assert (await store.bury_many([b"k"], 99_500, KEPT_S)).tolist() == [Outcome.APPLIED]
        assert await apply(store, [99_950], 2) == [APPLIED]
        assert await tiles(store) == {99: [1, 1, 1]}

    async def test_other_rows_stay_as_they_are_when_events_come_for_them(self, store: OnlineStore) -> None:
        [whole] = await _rows_after(store, [99_001])
        bad = [b"", b"x", pack_header(1, 5, 5), whole[:-1], whole + b"x", whole[:32], b"\xff" * len(whole)]
        keys = [b"%d" % number for number in range(len(bad))]
        await store.load_many(keys, bad)
        outcomes = await store.apply_events(keys, block([99_001] * len(bad)), FORM, NOW_US, KEPT_S)
        assert outcomes.tolist() == [CORRUPT] * len(bad)
        assert await store.get_many(keys) == bad
        await store.bury_many(keys, 5, KEPT_S)
        outcomes = await store.apply_events(keys, block([99_001] * len(bad)), FORM, NOW_US, KEPT_S)
        assert outcomes.tolist() == [APPLIED] * len(bad)

    async def test_a_row_is_crowded_when_too_many_partitions_of_a_stream_touch_it(
        self, store: OnlineStore
    ) -> None:
        await apply(store, [99_001], 0, Source(6, 0))
        for partition in range(MAX_POSITIONS):
            assert await apply(store, [99_001], 0, Source(7, partition)) == [APPLIED]
        assert await apply(store, [99_001], 0, Source(7, 300)) == [CROWDED]
        assert await apply(store, [99_001], 0, Source(7, 3)) == [REPEATED]
        assert await apply(store, [99_001], 0, Source(8, 0)) == [APPLIED]
        row = await ring_row(store)
        assert len(row.positions) == MAX_POSITIONS
        assert row.tiles[99][0] == MAX_POSITIONS + 2

    async def test_a_row_is_gone_when_no_event_has_come_for_long(self, store: OnlineStore) -> None:
        await store.apply_events([b"k"], block([99_001]), FORM, NOW_US, 0.05)
        give_up_s = time.monotonic() + 30
        while await store.get_many([b"k"]) != [None]:
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.02)
        assert await apply(store, [99_001]) == [APPLIED]

    async def test_outcomes_are_in_order_when_a_block_is_large_and_mixed(self, store: OnlineStore) -> None:
        random = np.random.default_rng(3)
        keys = [b"%d" % number for number in random.integers(0, 300, 3_000)]
        times_us = random.integers(90_000, 100_000, 3_000).tolist()
        outcomes = await store.apply_events(keys, block(times_us), FORM, NOW_US, KEPT_S)
        newest: dict[bytes, int] = {}
        for key, time_us, outcome in zip(keys, times_us, outcomes.tolist(), strict=True):
            number = (time_us - 1) // TILE_US
            newest[key] = max(newest.get(key, 0), number)
            assert outcome == (LATE if number <= newest[key] - 4 else APPLIED)
        again = await store.apply_events(keys, block(times_us), FORM, NOW_US, KEPT_S)
        assert set(again.tolist()) == {REPEATED}

    async def test_each_event_counts_once_when_two_workers_apply_the_same(self, store: OnlineStore) -> None:
        calls = [apply(store, [99_001] * 20, first) for first in (0, 10, 0, 20, 5)]
        await asyncio.gather(*calls)
        await apply(store, [99_001] * 40)
        assert (await tiles(store))[99][0] == 40

    async def test_no_events_are_settled_at_once_when_the_deadline_has_passed(
        self, store: OnlineStore
    ) -> None:
        assert (await store.apply_events([], block([]), FORM, NOW_US, KEPT_S, PASSED)).tolist() == []
        with pytest.raises(DeadlineExceeded):
            await store.apply_events([b"k"], block([1]), FORM, NOW_US, KEPT_S, PASSED)
        other = EventBlock(SOURCE, ["-"], np.zeros(1, np.int64), np.zeros(1, np.int64), {})
        with pytest.raises(ValueError, match="no field x"):
            await store.apply_events([b"k"], other, FORM, NOW_US, KEPT_S)
        with pytest.raises(ValueError, match="2 keys"):
            await store.apply_events([b"k", b"l"], block([1]), FORM, NOW_US, KEPT_S)
        with pytest.raises(ValueError, match="kept"):
            await store.apply_events([b"k"], block([1]), FORM, NOW_US, 0.0)


async def _rows_after(store: OnlineStore, times_us: Sequence[int]) -> list[bytes]:
    await apply(store, times_us, key=b"whole")
    return [row for row in await store.get_many([b"whole"]) if row is not None]
