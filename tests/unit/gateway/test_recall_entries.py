"""What is kept: within its bound, the least recently used first, found by key and by request, and let go by
row."""

from __future__ import annotations

import tracemalloc

import pytest

from gateway.batch import NEVER_US
from gateway.kept_answer import KeptAnswer
from gateway.recall.entries import (
    ENTRY_BYTES,
    MAX_RAW_BYTES,
    MAX_RAWS,
    RAW_BYTES,
    Entries,
    Entry,
    Freshness,
    Rows,
)
from gateway.recall.stats import RecallStats

BODY_BYTES = 1000
SIZE_BYTES = BODY_BYTES + ENTRY_BYTES


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entry(number: int, *, body_bytes: int = BODY_BYTES, release: int = 1, rows: Rows | None = None) -> Entry:
    kept = KeptAnswer(bytes(body_bytes), release, 0, NEVER_US, False)
    return Entry(key(number), "p", kept, 100.0, 105.0, 165.0, 0.0, rows or {})


def entries(max_bytes: int = 10 * SIZE_BYTES, max_entry_bytes: int = 10**9) -> tuple[Entries, RecallStats]:
    stats = RecallStats()
    return Entries(max_bytes, max_entry_bytes, stats), stats


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        (100.0, Freshness.FRESH),
        (104.9, Freshness.FRESH),
        (105.0, Freshness.STALE),
        (164.9, Freshness.STALE),
        (165.0, Freshness.SPENT),
    ],
)
def test_freshness_falls_with_time(now_s: float, expected: Freshness) -> None:
    assert entry(1).freshness(1, now_s, 0) is expected
    assert entry(1).freshness(2, now_s, 0) is Freshness.SPENT


def test_least_recently_used_gives_way_when_the_bound_is_reached() -> None:
    kept, stats = entries(3 * SIZE_BYTES)
    for number in (1, 2, 3):
        kept.put(entry(number))
    kept.get(key(1))
    kept.put(entry(4))
    assert [number for number in (1, 2, 3, 4) if kept.get(key(number))] == [1, 3, 4]
    assert (stats.entries, stats.bytes, stats.evicted, stats.stored) == (3, 3 * SIZE_BYTES, 1, 4)


def test_huge_answer_drives_nobody_out_when_it_is_over_its_own_limit() -> None:
    kept, stats = entries(10 * SIZE_BYTES, 2 * SIZE_BYTES)
    for number in range(5):
        kept.put(entry(number))
    assert not kept.put(entry(9, body_bytes=2 * SIZE_BYTES))
    assert (stats.entries, stats.too_large, stats.evicted) == (5, 1, 0)
    assert kept.get(key(9)) is None


def test_older_answer_is_let_go_when_the_one_that_replaces_it_is_too_large() -> None:
    kept, stats = entries(10 * SIZE_BYTES, 2 * SIZE_BYTES)
    kept.put(entry(1))
    kept.put(entry(1, body_bytes=2 * SIZE_BYTES))
    assert (kept.get(key(1)), stats.bytes) == (None, 0)


def test_only_answers_made_from_the_row_fall_when_it_is_written() -> None:
    kept, stats = entries()
    kept.put(entry(1, rows={"now": ["a", "b", "a"]}))
    kept.put(entry(2, rows={"now": ["b"], "profile": ["a"]}))
    kept.put(entry(3, rows={"now": ["c"]}))
    kept.drop_rows("now", ["a", "nobody's"])
    kept.drop_rows("elsewhere", ["a"])
    assert [number for number in (1, 2, 3) if kept.get(key(number))] == [2, 3]
    kept.drop_rows("now", ["a", "b", "c"])
    assert (stats.entries, stats.bytes, stats.invalidated) == (0, 0, 3)
    assert not kept._by_row


def test_entry_is_found_by_its_requests_when_they_come_again_as_they_were() -> None:
    kept, stats = entries()
    one = entry(1)
    kept.put(one)
    kept.name(one, b"request")
    kept.name(one, b"request")
    kept.name(one, b"")
    kept.name(one, bytes(MAX_RAW_BYTES + 1))
    assert kept.named(b"request") is one
    assert kept.named(b"") is None
    assert stats.bytes == SIZE_BYTES + RAW_BYTES + len(b"request") == one.size_bytes


def test_names_pass_to_the_answer_of_the_same_release_only() -> None:
    kept, stats = entries()
    kept.put(entry(1))
    kept.name(kept.get(key(1)), b"request")  # type: ignore[arg-type]
    refreshed = entry(1)
    kept.put(refreshed)
    assert kept.named(b"request") is refreshed
    kept.put(entry(1, release=2))
    assert kept.named(b"request") is None
    assert stats.bytes == SIZE_BYTES


def test_name_passes_on_when_the_same_request_has_another_key() -> None:
    kept, stats = entries()
    one, other = entry(1), entry(2, release=2)
    kept.put(one)
    kept.put(other)
    kept.name(one, b"request")
    kept.name(other, b"request")
    assert kept.named(b"request") is other
    assert (one.raws, other.raws) == ([], [b"request"])
    assert stats.bytes == one.size_bytes + other.size_bytes


def test_oldest_name_gives_way_when_an_entry_has_many() -> None:
    kept, stats = entries()
    one = entry(1)
    kept.put(one)
    names = [bytes([number]) * 9 for number in range(1, MAX_RAWS + 4)]
    for name in names:
        kept.name(one, name)
    assert [name for name in names if kept.named(name)] == names[-MAX_RAWS:]
    assert stats.bytes == one.size_bytes


@pytest.mark.parametrize(("rows", "raws"), [(0, 0), (1, 1), (20, 2), (100, 1)])
def test_bytes_counted_are_those_used(rows: int, raws: int) -> None:
    count = 200
    kept, stats = entries(10**9)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            one = entry(number, rows={"now": [f"{number}:{row}" for row in range(rows)]} if rows else {})
            kept.put(one)
            for raw in range(raws):
                kept.name(one, b"a request as it came in %d %d" % (number, raw))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.75 < used / stats.bytes < 1.05
