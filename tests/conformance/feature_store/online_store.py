"""What every OnlineStore does. A backend's test file subclasses OnlineStoreSuite and gives the `store`
fixture.
"""

from __future__ import annotations

import asyncio
from itertools import zip_longest

import pytest
from forebay.deadline import Deadline
from forebay.errors import DeadlineExceeded

from feature_store.row_header import MAX_TIME_US, pack_header, pack_tombstone
from feature_store.store import OnlineStore
from feature_store.types import Outcome
from tests.conformance.feature_store.event_rows import EventRowsSuite

APPLIED, OLDER, INVALID = Outcome.APPLIED, Outcome.OLDER, Outcome.INVALID
PASSED = Deadline(0.0)
KEPT_S = 60.0


def row(event_time_us: int, write_time_us: int = 0, body: bytes = b"") -> bytes:
    """Return a row with these times and `body` behind its header."""
    return pack_header(1, event_time_us, write_time_us) + body


class OnlineStoreSuite(EventRowsSuite):
    """Subclass it, and define a fixture `store` that yields an empty store and closes it afterwards."""

    async def test_get_many_answers_in_order_when_some_keys_are_absent_or_repeated(
        self, store: OnlineStore
    ) -> None:
        await store.load_many([b"a", b"b"], [row(1, body=b"A"), row(2, body=b"B")])
        got = await store.get_many([b"b", b"x", b"a", b"b"])
        assert got == [row(2, body=b"B"), None, row(1, body=b"A"), row(2, body=b"B")]

    async def test_empty_calls_return_at_once_when_even_the_deadline_has_passed(
        self, store: OnlineStore
    ) -> None:
        assert await store.get_many([], PASSED) == []
        assert (await store.put_many([], [], PASSED)).tolist() == []
        await store.load_many([], [], PASSED)
        assert await store.delete_many([], PASSED) == 0
        assert (await store.bury_many([], 1, 1.0, PASSED)).tolist() == []

    async def test_rows_come_back_byte_for_byte_when_keys_and_rows_are_binary(
        self, store: OnlineStore
    ) -> None:
        keys = ["f{1:\u00e9 %7B}2:3".encode(), b"\x00\r\n\xff", b"f{1:}2:3"]
        rows = [row(1, body=bytes(range(256))), row(2, body=b"\r\n$-1\r\n"), row(3, body=b"\x00" * 70_000)]
        assert (await store.put_many(keys, rows)).tolist() == [APPLIED] * 3
        assert await store.get_many(keys) == rows

    @pytest.mark.parametrize(
        ("stored", "offered", "outcome"),
        [
            ((5, 0), (6, 0), APPLIED),
            ((5, 0), (4, 9), OLDER),
            ((5, 1), (5, 2), APPLIED),
            ((5, 2), (5, 1), OLDER),
            ((5, 2), (5, 2), APPLIED),
            ((-1, 0), (0, 0), APPLIED),
            ((0, 0), (-1, 0), OLDER),
            ((0, -1), (0, 1), APPLIED),
            ((0, 1), (0, -1), OLDER),
            ((255, 0), (256, 0), APPLIED),
            ((256, 0), (255, 0), OLDER),
            ((2**32, 0), (2**32 - 1, 0), OLDER),
            ((MAX_TIME_US - 1, 0), (MAX_TIME_US, 0), APPLIED),
            ((MAX_TIME_US, 0), (MAX_TIME_US - 1, 0), OLDER),
            ((-MAX_TIME_US + 1, 0), (-MAX_TIME_US, 0), OLDER),
            ((7, MAX_TIME_US), (7, MAX_TIME_US - 1), OLDER),
            ((7, -MAX_TIME_US), (7, -MAX_TIME_US + 1), APPLIED),
        ],
    )
    async def test_put_many_keeps_the_newest_when_a_row_is_there(
        self, store: OnlineStore, stored: tuple[int, int], offered: tuple[int, int], outcome: Outcome
    ) -> None:
        old, new = row(*stored, b"old"), row(*offered, b"new")
        assert (await store.put_many([b"k"], [old])).tolist() == [APPLIED]
        assert (await store.put_many([b"k"], [new])).tolist() == [outcome]
        assert await store.get_many([b"k"]) == [new if outcome == APPLIED else old]

    async def test_put_many_takes_rows_in_order_when_a_batch_repeats_a_key(self, store: OnlineStore) -> None:
        rows = [row(2, body=b"first"), row(1, body=b"older"), row(3, body=b"last"), row(3, body=b"again")]
        outcomes = await store.put_many([b"k"] * 4, rows)
        assert outcomes.tolist() == [APPLIED, OLDER, APPLIED, APPLIED]
        assert await store.get_many([b"k"]) == [rows[3]]

    async def test_put_many_answers_in_order_when_a_batch_is_large_and_mixed(
        self, store: OnlineStore
    ) -> None:
        keys = [b"key:%d" % i for i in range(2_500)]
        await store.load_many(keys[::2], [row(10, body=b"there")] * 1_250)
        rows = [row(9 if i % 4 == 0 else 11, body=b"%d" % i) for i in range(2_500)]
        outcomes = await store.put_many(keys, rows)
        assert outcomes.dtype.name == "uint8"
        assert outcomes.tolist() == [OLDER if i % 4 == 0 else APPLIED for i in range(2_500)]
        got = await store.get_many(keys)
        assert got == [row(10, body=b"there") if i % 4 == 0 else rows[i] for i in range(2_500)]

    @pytest.mark.parametrize(
        "bad",
        [
            b"",
            row(1)[:19],
            row(1)[:2] + b"\x02" + row(1)[3:],
            pack_header(1, MAX_TIME_US + 1, 0),
            pack_header(1, -MAX_TIME_US - 1, 0),
            pack_header(1, 0, MAX_TIME_US + 1),
            pack_header(1, 0, -(2**63)),
        ],
        ids=["empty", "short", "version", "event after", "event before", "write after", "write before"],
    )
    async def test_put_many_marks_a_row_invalid_when_its_header_is_not_storable(
        self, store: OnlineStore, bad: bytes
    ) -> None:
        outcomes = await store.put_many([b"bad", b"good"], [bad, row(1)])
        assert outcomes.tolist() == [INVALID, APPLIED]
        assert await store.get_many([b"bad", b"good"]) == [None, row(1)]

    async def test_put_many_replaces_what_is_there_when_it_is_too_short_for_a_header(
        self, store: OnlineStore
    ) -> None:
        await store.load_many([b"a", b"b"], [b"", row(9)[:19]])
        assert (await store.put_many([b"a", b"b"], [row(1), row(1)])).tolist() == [APPLIED, APPLIED]

    async def test_put_many_ends_with_the_newest_when_writers_race(self, store: OnlineStore) -> None:
        rows = [row(event, 0, b"%d" % event) for event in (3, 9, 1, 7, 5, 8, 2, 6, 4)]
        await asyncio.gather(*(store.put_many([b"k"], [offered]) for offered in rows))
        assert await store.get_many([b"k"]) == [row(9, 0, b"9")]

    async def test_put_many_gives_the_same_end_state_when_a_batch_is_repeated(
        self, store: OnlineStore
    ) -> None:
        keys, rows = [b"a", b"b"], [row(1, 5, b"A"), row(2, 5, b"B")]
        await store.put_many(keys, rows)
        assert (await store.put_many(keys, rows)).tolist() == [APPLIED, APPLIED]
        assert await store.get_many(keys) == rows

    async def test_load_many_overwrites_when_the_row_there_is_newer(self, store: OnlineStore) -> None:
        await store.put_many([b"k"], [row(9)])
        await store.load_many([b"k", b"k"], [row(1), row(2)])
        assert await store.get_many([b"k"]) == [row(2)]

    async def test_delete_many_counts_the_rows_that_were_there_when_keys_repeat(
        self, store: OnlineStore
    ) -> None:
        await store.load_many([b"a", b"b"], [row(1), row(2)])
        assert await store.delete_many([b"a", b"x", b"a"]) == 1
        assert await store.get_many([b"a", b"b"]) == [None, row(2)]
        assert (await store.put_many([b"a"], [row(0)])).tolist() == [APPLIED]

    async def test_bury_many_leaves_a_tombstone_when_a_row_is_there_or_not(self, store: OnlineStore) -> None:
        await store.put_many([b"a"], [row(3, 4, b"A")])
        outcomes = await store.bury_many([b"a", b"x", b"a"], 5, KEPT_S)
        assert outcomes.dtype.name == "uint8"
        assert outcomes.tolist() == [APPLIED] * 3
        assert await store.get_many([b"a", b"x"]) == [pack_tombstone(5)] * 2

    @pytest.mark.parametrize(
        ("stored", "outcome"),
        [
            ((4, 9), APPLIED),
            ((5, 5), APPLIED),
            ((5, 6), OLDER),
            ((6, 6), OLDER),
            ((6, 5), APPLIED),
            ((9, 4), APPLIED),
            ((-5, 2**40), APPLIED),
            ((2**40, 2**40), OLDER),
            ((2**32 + 5, -(2**40)), APPLIED),
            ((MAX_TIME_US, MAX_TIME_US), OLDER),
            ((MAX_TIME_US, 5), APPLIED),
        ],
    )
    async def test_bury_many_spares_a_row_when_it_was_written_since(
        self, store: OnlineStore, stored: tuple[int, int], outcome: Outcome
    ) -> None:
        there = row(*stored, b"there")
        await store.put_many([b"k"], [there])
        assert (await store.bury_many([b"k"], 5, KEPT_S)).tolist() == [outcome]
        assert await store.get_many([b"k"]) == [pack_tombstone(5) if outcome == APPLIED else there]

    @pytest.mark.parametrize(
        ("offered", "outcome"),
        [((4, 9), OLDER), ((5, 4), OLDER), ((5, 5), APPLIED), ((5, 6), APPLIED), ((6, 0), APPLIED)],
    )
    async def test_put_many_brings_a_row_back_when_it_is_newer_than_the_tombstone(
        self, store: OnlineStore, offered: tuple[int, int], outcome: Outcome
    ) -> None:
        await store.bury_many([b"k"], 5, KEPT_S)
        assert (await store.put_many([b"k"], [row(*offered)])).tolist() == [outcome]
        assert await store.get_many([b"k"]) == [pack_tombstone(5) if outcome == OLDER else row(*offered)]

    async def test_bury_many_keeps_the_latest_tombstone_when_deletions_come_late(
        self, store: OnlineStore
    ) -> None:
        for time_us in (5, 9, 7):
            assert (await store.bury_many([b"k"], time_us, KEPT_S)).tolist() == [APPLIED]
        assert await store.get_many([b"k"]) == [pack_tombstone(9)]

    async def test_bury_many_takes_what_is_there_for_no_row_when_it_is_too_short(
        self, store: OnlineStore
    ) -> None:
        await store.load_many([b"a", b"b"], [b"", row(9, 9)[:19]])
        assert (await store.bury_many([b"a", b"b"], 5, KEPT_S)).tolist() == [APPLIED] * 2
        assert await store.get_many([b"a", b"b"]) == [pack_tombstone(5)] * 2

    async def test_a_tombstone_is_gone_when_its_time_is_over_and_a_row_in_its_place_stays(
        self, store: OnlineStore
    ) -> None:
        await store.bury_many([b"a", b"put", b"loaded"], 5, 0.05)
        await store.put_many([b"put"], [row(6)])
        await store.load_many([b"loaded"], [row(1)])
        for _ in range(1_000):
            if await store.get_many([b"a"]) == [None]:
                break
            await asyncio.sleep(0.005)
        assert await store.get_many([b"a", b"put", b"loaded"]) == [None, row(6), row(1)]
        assert (await store.put_many([b"a"], [row(1)])).tolist() == [APPLIED]

    async def test_bury_many_answers_in_order_when_a_batch_is_large_and_mixed(
        self, store: OnlineStore
    ) -> None:
        keys = [b"key:%d" % i for i in range(2_500)]
        await store.load_many(keys, [row(9, 9) if i % 3 == 0 else row(1, 1) for i in range(2_500)])
        outcomes = await store.bury_many(keys, 5, KEPT_S)
        assert outcomes.tolist() == [OLDER if i % 3 == 0 else APPLIED for i in range(2_500)]
        got = await store.get_many(keys)
        assert got == [row(9, 9) if i % 3 == 0 else pack_tombstone(5) for i in range(2_500)]

    async def test_bury_many_ends_with_the_newest_when_writers_race(self, store: OnlineStore) -> None:
        writes = [store.put_many([b"k"], [row(event, event)]) for event in (3, 9, 1, 7, 5, 8, 2, 6, 4)]
        deletions = [store.bury_many([b"k"], time_us, KEPT_S) for time_us in (2, 8, 5)]
        await asyncio.gather(*(call for pair in zip_longest(writes, deletions) for call in pair if call))
        assert await store.get_many([b"k"]) == [row(9, 9)]

    @pytest.mark.parametrize(("time_us", "kept_s"), [(MAX_TIME_US + 1, 1.0), (5, 0.0), (5, float("nan"))])
    async def test_bury_many_is_refused_when_its_times_are_wrong(
        self, store: OnlineStore, time_us: int, kept_s: float
    ) -> None:
        with pytest.raises(ValueError):
            await store.bury_many([b"k"], time_us, kept_s)
        assert await store.get_many([b"k"]) == [None]

    async def test_writes_are_refused_when_keys_and_rows_differ_in_length(self, store: OnlineStore) -> None:
        with pytest.raises(ValueError):
            await store.put_many([b"a", b"b"], [row(1)])
        with pytest.raises(ValueError):
            await store.load_many([b"a"], [row(1), row(2)])
        assert await store.get_many([b"a", b"b"]) == [None, None]

    async def test_every_call_raises_when_the_deadline_has_passed(self, store: OnlineStore) -> None:
        with pytest.raises(DeadlineExceeded):
            await store.get_many([b"a"], PASSED)
        with pytest.raises(DeadlineExceeded):
            await store.put_many([b"a"], [row(1)], PASSED)
        with pytest.raises(DeadlineExceeded):
            await store.load_many([b"a"], [row(1)], PASSED)
        with pytest.raises(DeadlineExceeded):
            await store.delete_many([b"a"], PASSED)
        with pytest.raises(DeadlineExceeded):
            await store.bury_many([b"a"], 1, 1.0, PASSED)
        assert await store.get_many([b"a"]) == [None]

    async def test_aclose_does_nothing_when_called_again(self, store: OnlineStore) -> None:
        await store.aclose()
        await store.aclose()
